"""The flags of both benchmark_models in the order of their usage, and their labels in the log.

A row is name, type, default, description. num_threads and gpu_invoke_loop_times occur twice, as in TFLite's
tool.
"""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    """One flag; its default is written as in the usage."""

    name: str
    kind: str
    default: str
    text: str


SHARED = (
    Flag("num_runs", "int32", "50", "how many timed runs at least; min_secs and max_secs count too"),
    Flag("min_secs", "float", "1", "how long the timed runs go on at least"),
    Flag("max_secs", "float", "150", "after how long no further run is started"),
    Flag("run_delay", "float", "-1", "seconds of rest between two runs"),
    Flag("run_frequency", "float", "-1", "runs a second to aim at, in place of a fixed rest"),
    Flag("num_threads", "int32", "-1", "threads on the CPU"),
    Flag("use_caching", "bool", "false", "keep packed weights of matrix products"),
    Flag("benchmark_name", "string", "", "name of this benchmark"),
    Flag("output_prefix", "string", "", "prefix of its output"),
    Flag("warmup_runs", "int32", "1", "how many runs at least before those that are timed"),
    Flag("warmup_min_secs", "float", "0.5", "how long the runs before those go on at least"),
    Flag("verbose", "bool", "false", "log every parameter, not only those that were given"),
    Flag("dry_run", "bool", "false", "load and allocate, and run nothing"),
    Flag("report_peak_memory_footprint", "bool", "false", "look at the memory from time to time"),
    Flag("memory_footprint_check_interval_ms", "int32", "50", "from one such look to the next"),
    Flag("gpu_invoke_loop_times", "int32", "1", "inferences a run on the GPU, where that is built in"),
)

TFLITE = (
    Flag("graph", "string", "", "the model's file"),
    Flag("input_layer", "string", "", "names of the inputs, a comma between"),
    Flag("input_layer_shape", "string", "", "their shapes, a colon between"),
    Flag("input_layer_value_range", "string", "", "name,low,high of whole-number inputs, a colon between"),
    Flag(
        "input_layer_value_files", "string", "", "name:path of raw inputs, a comma between; '::' is a colon"
    ),
    Flag("allow_fp16", "bool", "false", "let float32 be computed in float16"),
    Flag("require_full_delegation", "bool", "false", "fail unless the delegate takes every node"),
    Flag("enable_op_profiling", "bool", "false", "time each operator"),
    Flag("op_profiling_output_mode", "string", "stdout", "stdout, csv or proto"),
    Flag("op_profiling_output_file", "string", "", "where the operators' times go"),
    Flag("max_profiling_buffer_entries", "int32", "1024", "events that are kept at first"),
    Flag("allow_dynamic_profiling_buffer_increase", "bool", "false", "keep more of them when they come"),
    Flag("profiling_output_csv_file", "string", "", "deprecated: see op_profiling_output_file"),
    Flag("export_model_runtime_info", "bool", "false", "write what the runtime made of the model"),
    Flag("model_runtime_info_output_file", "string", "", "where to"),
    Flag("print_preinvoke_state", "bool", "false", "show the interpreter before the runs"),
    Flag("print_postinvoke_state", "bool", "false", "show the interpreter after the runs"),
    Flag("release_dynamic_tensors", "bool", "false", "give back dynamic tensors when they are done with"),
    Flag("optimize_memory_for_large_tensors", "int32", "0", "from this size on, memory before speed"),
    Flag("disable_delegate_clustering", "bool", "false", "leave the operators in their order"),
    Flag("enable_builtin_cast_constant_cache", "bool", "false", "cast constants once"),
    Flag("output_filepath", "string", "", "where the raw outputs go"),
    Flag("output_proto_filepath", "string", "", "where the outputs go as tf.Example"),
    Flag("tensor_name_display_length", "int32", "25", "letters of a tensor's name to show"),
    Flag("tensor_type_display_length", "int32", "15", "letters of its type"),
    Flag("alloc_type_display_length", "int32", "18", "letters of its allocation"),
    Flag("signature_to_run_for", "string", "", "which signature, where the model has several"),
    Flag("list_signatures", "bool", "false", "name the signatures and end"),
    Flag("result_file_path", "string", "", "where the result goes as a protocol buffer"),
    Flag("help", "bool", "false", "show this"),
    Flag("num_threads", "int32", "-1", "threads for inference on the CPU"),
    Flag("max_delegated_partitions", "int32", "0", "partitions to delegate at most"),
    Flag("min_nodes_per_partition", "int32", "0", "nodes that a partition needs to be delegated"),
    Flag("first_delegate_node_index", "int32", "0", "first node to delegate, in debug builds"),
    Flag("last_delegate_node_index", "int32", "2147483647", "last node to delegate, in debug builds"),
    Flag("gpu_invoke_loop_times", "int32", "-1", "inferences a run on the GPU, where that is built in"),
    Flag("delegate_serialize_dir", "string", "", "where delegates may keep what they prepared"),
    Flag("delegate_serialize_token", "string", "", "which model that was for"),
    Flag("use_xnnpack", "bool", "false", "apply XNNPACK by hand; false also leaves out the one by default"),
    Flag("xnnpack_force_fp16", "bool", "false", "compute in float16"),
    Flag("xnnpack_weight_cache_file_path", "string", "", "where packed weights are kept"),
    Flag("xnnpack_runtime_flags", "int32", "0", "further bits for XNNPACK"),
    Flag("external_delegate_path", "string", "", "library of a delegate"),
    Flag("external_delegate_options", "string", "", "its options, key:value, a comma between"),
    Flag("use_gpu", "bool", "false", "apply the GPU delegate"),
    Flag("gpu_precision_loss_allowed", "bool", "true", "let the GPU compute in float16"),
    Flag("gpu_experimental_enable_quant", "bool", "true", "let the GPU take quantized models"),
    Flag("gpu_backend", "string", "", "cl or gl"),
    Flag("use_hexagon", "bool", "false", "apply the Hexagon delegate"),
    Flag("hexagon_lib_path", "string", "/data/local/tmp", "where its libraries are"),
    Flag("use_nnapi", "bool", "false", "apply the NNAPI delegate"),
    Flag("nnapi_execution_preference", "string", "", "fast_single_answer, sustained_speed, low_power"),
    Flag("nnapi_accelerator_name", "string", "", "which accelerator"),
    Flag("disable_nnapi_cpu", "bool", "true", "no CPU in NNAPI"),
    Flag("nnapi_allow_fp16", "bool", "false", "let NNAPI compute in float16"),
)

LITERT = (
    Flag("graph", "string", "", "the model's file"),
    Flag("signature_to_run_for", "string", "", "which signature"),
    Flag("use_cpu", "bool", "true", "allow the CPU"),
    Flag("use_gpu", "bool", "false", "allow the GPU"),
    Flag("use_npu", "bool", "false", "allow the NPU"),
    Flag("gpu-precision", "string", "auto", "auto, fp16 or fp32"),
    Flag("dispatch_library_path", "string", "", "where the dispatch library is"),
    Flag("compiler_plugin_library_path", "string", "", "where the compiler plugin is"),
    Flag("require_full_delegation", "bool", "false", "fail unless every node is delegated"),
    Flag("use_profiler", "bool", "false", "profile"),
    Flag("gpu_backend", "string", "", "which interface to the GPU"),
    Flag("allow_fp16", "bool", "true", "let float32 be computed in float16"),
    Flag("result_file_path", "string", "", "where the result goes as a protocol buffer"),
)

FLAGS = {"tflite": SHARED + TFLITE, "litert": SHARED + LITERT}

ALWAYS = "always"
"""Marks a parameter that is logged even if it was not given."""

_SHARED_LABELS = (
    ("verbose", "Log parameter values verbosely", ALWAYS),
    ("num_runs", "Min num runs"),
    ("min_secs", "Min runs duration (seconds)"),
    ("max_secs", "Max runs duration (seconds)"),
    ("run_delay", "Inter-run delay (seconds)"),
    ("run_frequency", "Number of prorated runs per second"),
    ("num_threads", "Num threads"),
    ("use_caching", "Use caching"),
    ("benchmark_name", "Benchmark name"),
    ("output_prefix", "Output prefix"),
    ("warmup_runs", "Min warmup runs"),
    ("warmup_min_secs", "Min warmup runs duration (seconds)"),
    ("dry_run", "Run w/o invoking kernels"),
    ("report_peak_memory_footprint", "Report the peak memory footprint"),
    ("memory_footprint_check_interval_ms", "Memory footprint check interval (ms)"),
)
_TFLITE_LABELS = (
    ("graph", "Graph", ALWAYS),
    ("signature_to_run_for", "Signature to run", ALWAYS),
    ("list_signatures", "List signatures from the provided model"),
    ("input_layer", "Input layers"),
    ("input_layer_shape", "Input shapes"),
    ("input_layer_value_range", "Input value ranges"),
    ("input_layer_value_files", "Input value files"),
    ("allow_fp16", "Allow fp16"),
    ("require_full_delegation", "Require full delegation"),
    ("enable_op_profiling", "Enable op profiling"),
    ("op_profiling_output_mode", "Op profiling output mode."),
    ("op_profiling_output_file", "Op profiling output file."),
    ("max_profiling_buffer_entries", "Max initial profiling buffer entries"),
    ("profiling_output_csv_file", "CSV File to export profiling data to"),
    ("print_preinvoke_state", "Print pre-invoke interpreter state"),
    ("print_postinvoke_state", "Print post-invoke interpreter state"),
    ("release_dynamic_tensors", "Release dynamic tensor memory"),
    ("optimize_memory_for_large_tensors", "Optimize memory usage for large tensors"),
    ("disable_delegate_clustering", "Disable delegate clustering"),
    ("enable_builtin_cast_constant_cache", "Constant CAST output cache"),
    ("output_filepath", "File path to export outputs layer to"),
    ("output_proto_filepath", "File path to export outputs layer as tf example to"),
    ("result_file_path", "File path to save the benchmark result in binary proto format"),
    ("num_threads", "#threads used for CPU inference"),
    ("max_delegated_partitions", "Max number of delegated partitions"),
    ("min_nodes_per_partition", "Min nodes per partition"),
    ("delegate_serialize_dir", "Directory for delegate serialization"),
    ("delegate_serialize_token", "Model-specific token/key for delegate serialization."),
    ("external_delegate_path", "External delegate path"),
    ("external_delegate_options", "External delegate options"),
    ("use_gpu", "Use gpu"),
    ("gpu_precision_loss_allowed", "Allow lower precision in gpu"),
    ("gpu_experimental_enable_quant", "Enable running quant models in gpu"),
    ("gpu_backend", "GPU backend"),
    ("use_hexagon", "Use Hexagon"),
    ("hexagon_lib_path", "Hexagon lib path"),
    ("use_nnapi", "Use NNAPI"),
    ("nnapi_execution_preference", "NNAPI execution preference"),
    ("nnapi_accelerator_name", "NNAPI accelerator name"),
    ("disable_nnapi_cpu", "Disable NNAPI cpu"),
    ("nnapi_allow_fp16", "Allow fp16 in NNAPI"),
    ("use_xnnpack", "Use xnnpack"),
    ("xnnpack_force_fp16", "xnnpack_force_fp16"),
    ("xnnpack_weight_cache_file_path", "xnnpack_weight_cache_file_path"),
)
LABELS = {"tflite": _SHARED_LABELS + _TFLITE_LABELS, "litert": _SHARED_LABELS}
"""Each tool's name of a parameter in its log."""
