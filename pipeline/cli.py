"""The `pipeline` command: a table of subcommands, each imported only when it is called.

The table has each subcommand's help line, so that `pipeline --help` imports none of them; a test compares
these lines with the commands' own.
"""

from __future__ import annotations

import re
import stat
import sys
from importlib import import_module
from pathlib import Path

import click

from pipeline.errors import PipelineError, UsageError, lacks_memory, unknown_name
from pipeline.quiet import quiet_native_logs
from pipeline.stop_signals import StopSignals, outlive_terminal
from pipeline.terminal import guard_output

COMMANDS = {
    "choose": "Find the net to ship within a budget, measured before anything is trained.",
    "demo": "Train, export, verify, benchmark and report on digits, in a minute.",
    "models": "Show the models and what they cost: parameters, MACs, memory, bytes.",
    "weights": "List published weights to start from, and fetch them.",
    "data": "Show a data set: classes, splits, and the files that were left out.",
    "train": "Train a model on your images.",
    "sweep": "Train every combination of several settings.",
    "compress": "Prune, cluster and train quantized, into a new run.",
    "export": "Export a trained model to TFLite files.",
    "verify": "Compare exported files with the Keras model on the test split.",
    "predict": "Show what an exported file says of your images.",
    "bench": "Measure the latency of exported files, on this machine or on phones.",
    "devices": "List the phones that adb sees, and what to do about those that are not ready.",
    "explain": "Say why a file is slow, large or wrong, layer by layer.",
    "report": "Show size, latency and accuracy of every file, as a table or a page.",
    "runs": "List the runs and what each holds.",
    "doctor": "Say what is installed, what works, and how to fix the rest.",
}


_PARTIAL = re.compile(r"\.partial-(?:[0-9a-f]{8}-)?[a-z0-9_]{8}-")
"""The beginning of the name that a file has while it is written (export.files.replacing)."""


class CommandTable(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Imports and returns the command with this name; None for an unknown one."""
        if name not in COMMANDS:
            return None
        command = import_module(f"pipeline.commands.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, with the nearest name suggested for a mistyped one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise unknown_name("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keras-mobile-pipeline", prog_name="pipeline")
def pipeline() -> None:
    """Image classifiers for phones: train, export to TFLite, verify, benchmark, compare.

    \b
    pipeline demo                               everything once, in a minute
    pipeline train mobilenet --alpha 0.5 --data photos/
    pipeline export --int8                      the newest run
    pipeline verify --max-drop 1.0
    pipeline bench
    pipeline report --format html
    """


def main() -> None:
    """Runs the command line and exits with its status: a line for a user's mistake, a traceback for a bug."""
    quiet_native_logs()
    outlive_terminal()
    guard_output()
    stop_signals = StopSignals()
    sys.exit(stop_signals.exit_status(run()))


def run(arguments: list[str] | None = None) -> int:
    """Runs one command line (default: this process's) and returns its exit status."""
    from android_bench.errors import DeviceError, LogError, ToolError
    from export.errors import ExportError, SettingsError
    from export.partial import temporary_folder_swept
    from models.errors import KnobError, ModelError
    from pipeline.home import sweep_cache
    from pipeline.runs import sweep_runs, where_runs_are

    sweep_runs(where_runs_are())
    sweep_cache()
    try:
        _refuse_pipes(sys.argv[1:] if arguments is None else arguments)
        with temporary_folder_swept():
            status = pipeline.main(arguments, prog_name="pipeline", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Abort as stop:
        return _complain(f"stopped. {str(stop.__cause__ or '') or 'What was finished is kept.'}", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        from pipeline.commands.mistakes import explained

        words = sys.argv[1:] if arguments is None else arguments
        command = words[0] if words and words[0] in COMMANDS else ""
        return _complain(explained(error, command), error.exit_code)
    except PipelineError as error:
        return _complain(str(error), error.exit_status)
    except (KnobError, SettingsError) as error:
        return _complain(str(error), 2)
    except (ModelError, ExportError, LogError) as error:
        return _complain(str(error), 1)
    except ToolError as error:
        return _complain(str(error), 3)
    except DeviceError as error:
        return _complain(str(error), 4)
    except BrokenPipeError:
        return 141
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        where = f" ({_PARTIAL.sub('', str(error.filename))})" if error.filename else ""
        return _complain(f"{error.strerror}{where}. {_what_to_do(error)}", 1)
    except Exception as error:
        if not lacks_memory(error):
            raise
        return _complain(
            "this machine's memory is too small for it. Close other programs, or use smaller images, a "
            "smaller model, or a smaller --batch-size where there is one.",
            1,
        )


def _refuse_pipes(words: list[str]) -> None:
    """UsageError for a named pipe or a socket in a file's place: reading it may never end."""
    for word in words:
        path = Path(word.partition("=")[2] if word.startswith("--") else word)
        if path.is_absolute() and len(path.parts) > 1 and path.parts[1] in ("dev", "proc"):
            continue  # a shell's <(command) ends with the command
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            continue
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            raise UsageError(
                f"{path} is a pipe or a socket, where a file or a folder was expected. Save what it holds as "
                "a file, and give that."
            )


def _complain(message: str, status: int) -> int:
    click.echo(f"pipeline: {message}", err=True)
    return status


def _what_to_do(error: OSError) -> str:
    import errno

    advice = {
        errno.ENOSPC: "The disk is full: free some space, then run the same command again; nothing is lost.",
        errno.EDQUOT: "Your quota is used up: free some space, then run the same command again.",
        errno.EFBIG: "A file grew past its limit: raise it (ulimit -f), then run the same command again.",
        errno.EACCES: "Check the permissions, or choose another folder with PIPELINE_RUNS.",
        errno.EROFS: "The folder is read-only: choose another with PIPELINE_RUNS.",
    }
    return advice.get(error.errno or 0, "Check the path, then run the same command again.")
