"""The tool's process on a phone: written down by its id and start time, and ended by these alone."""

from __future__ import annotations

PID_FILE = "pid"
"""In the session's folder while a tool runs: its process id and its start, in clock ticks since boot."""

END_TOOL = f"""
end_tool() {{
  {{ read -r tool born < "$1/{PID_FILE}" && read -r line < /proc/$tool/stat; }} 2>/dev/null || return 0
  set -f
  set -- ${{line##*) }}
  set +f
  [ "${{20}}" = "$born" ] || return 0
  kill -9 $tool
  waits=0
  while [ -e /proc/$tool/exe ] && [ $waits -lt 200 ]; do waits=$((waits + 1)); sleep 0.01; done
}}
"""
"""A shell function: ends the tool that a session's folder names, and waits until it is gone.

An id that another process has by now is left alone: that process started at another time (field 22 of
/proc/PID/stat, proc(5)).
"""


def written_down(command: str) -> str:
    """Shell code that runs a command in the background, its id in $pid, written down before it starts.

    The code runs in the session's folder. Nothing is started where the note cannot be written.
    """
    return (
        f"{{ read -r line < /proc/self/stat; set -- ${{line##*) }}; "
        f'echo "${{line%% *}} ${{20}}" > {PID_FILE} || exit 98; exec {command}; }} & pid=$!; '
    )
