"""A log as other programs keep it: wrapped in JSON, HTML, tables, numbers and times."""

import codecs
import html
import json
import quopri
import re
import xml.sax.saxutils
from functools import partial

STAMP = "2024-05-01T10:00:{:02d}.{:07d}Z"


def every_line(form, *, start=1):
    """Wraps each line in a form, which may hold its number {n}, its seconds {s} and its text {}."""

    def wrap(text):
        lines = text.splitlines()
        return "".join(
            form.format(line, n=n, s=f"{n // 60 % 60:02d}:{n % 60:02d}", t=STAMP.format(n % 60, n)) + "\n"
            for n, line in enumerate(lines, start=start)
        )

    return wrap


def records(**fields):
    """JSON lines, the text in the field whose value is None."""

    def wrap(text):
        return "".join(
            json.dumps({name: line if value is None else value for name, value in fields.items()}) + "\n"
            for line in text.splitlines()
        )

    return wrap


def table(*, header, number=False):
    def wrap(text):
        rows = [line.replace("|", r"\|") for line in text.splitlines()]
        cells = [f"| {n} | {row} |" if number else f"| {row} |" for n, row in enumerate(rows, start=1)]
        return "\n".join([*header, *cells]) + "\n"

    return wrap


def page(before, line, after):
    """HTML, each line between two others."""

    def wrap(text):
        numbered = enumerate(text.splitlines(), start=1)
        return before + "".join(line.format(html.escape(each), n=n) for n, each in numbered) + after

    return wrap


def boxed(text):
    lines = [line.expandtabs() for line in text.splitlines()]
    width = max((len(line) for line in lines), default=0)
    edge = "+-" + "-" * width + "-+"
    return "\n".join([edge, *(f"| {line:<{width}} |" for line in lines), edge]) + "\n"


def pretty(text):
    log = {
        "job": {"id": 17, "device": "Pixel 8", "exit_code": 0, "log": text},
        "artifacts": ["x.tflite", "y"],
    }
    return json.dumps(log, indent=2)


def with_commas(text):
    """As a spreadsheet of a German locale writes the figures."""
    number = re.compile(r"(?<=[ =(]\d)(\d*)\.(\d+(?:e[+-]\d+)?)(?=[ ,%)]|ms|$)", re.MULTILINE)
    told = re.compile(
        r"count=|.*timings in us|Running bench|Initialized s|.*\(MB\)|.*\d (?:ms|MB)(?: \(|$)|[\w ]+ \(std\)"
    )
    prefixes = re.compile(r"(?:INFO: )?(?:\[[^\]]*\] )?")
    lines = []
    for line in text.splitlines(keepends=True):
        body = line[prefixes.match(line).end() :]
        lines.append(
            line[: len(line) - len(body)] + (number.sub(r"\1,\2", body) if told.match(body) else body)
        )
    return "".join(lines)


GITHUB_PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>Benchmark &middot; Issue #1</title>
<script type="application/json">{"body": "INFO: STARTING!\\nINFO: count=50 curr=1"}</script>
<style>pre { color: red }</style></head>
<body><div class="comment"><p>This is what I get on a Pixel&nbsp;8:</p>
<div class="highlight"><pre class="notranslate"><code>"""
GITLAB_LINE = '<div class="js-line"><a class="line-number" id="L{n}">{n}</a><span class="x">{}</span></div>'
BLOB_LINE = '<tr>\n<td id="L{n}" class="blob-num"></td>\n<td class="blob-code">{}</td>\n</tr>\n'

LINES = {
    "cat -n": every_line("{n:6d}\t{}"),
    "nl -ba": every_line("{n:6d}\t{}", start=1),
    "nl -s": every_line("{n:3d}: {}"),
    "vim": every_line("{n:>4d} {}"),
    "bat": every_line("{n:>4d}   │ {}"),
    "cut of a file": every_line("{n}\t{}", start=998),
    "list": every_line("{n}. {}"),
    "pipe": every_line("| {}"),
    "pipe and number": every_line("{n:4d} | {}"),
    "docker compose": every_line("bench-1  | {}"),
    "kubectl": every_line("{t} {}"),
    "kubectl --prefix": every_line("[pod/bench-7d9f/bench] {}"),
    "GitHub Actions": every_line("{t} {}"),
    "gh run view": every_line("bench\tRun on the phone\t{t} {}"),
    "gh run view, first": lambda text: "\ufeff" + every_line("bench (arm64)\tRun\t{t} {}")(text),
    "GitLab": every_line("{t} 00O {}"),
    "Jenkins": every_line("[{t}] {}"),
    "Jenkins, time": every_line("14:{s}  {}"),
    "Jenkins, pipeline": every_line("[{t}] [phone] {}"),
    "syslog": every_line("Jul 19 14:{s} build-7 bench[812]: {}"),
    "journal, iso": every_line("2024-07-19T14:{s}+0200 build-7 bench[812]: {}"),
    "buildkit": every_line("#12 0.{n} {}"),
    "logger": every_line("2024-05-01 10:{s},123 - bench - INFO - {}"),
    "logger, level": every_line("2024-05-01 10:{s}.123 | INFO     | bench:run:42 - {}"),
    "heroku": every_line("2024-05-01T10:{s}.123456+00:00 app[worker.1]: {}"),
    "pytest": every_line("INFO     bench:run.py:42 {}"),
}
JSON = {
    "JSON, a field": pretty,
    "JSON, a string": json.dumps,
    "JSON, a list": lambda text: json.dumps(text.splitlines()),
    "JSON, a list in a field": lambda text: json.dumps(
        {"status": "done", "output": text.splitlines()}, indent=1
    ),
    "docker": lambda text: "".join(
        json.dumps({"log": line + "\n", "stream": "stdout", "time": "2024-05-01T10:00:00Z"}) + "\n"
        for line in text.splitlines()
    ),
    "Loki": records(ts="2024-05-01T10:00:00Z", labels={"app": "bench"}, line=None),
    "Cloud Logging": lambda text: json.dumps(
        [{"insertId": "a", "severity": "INFO", "textPayload": line} for line in text.splitlines()], indent=2
    ),
    "Elastic": lambda text: json.dumps(
        {
            "hits": {
                "hits": [
                    {"_id": "1", "_source": {"host": "x", "message": line}} for line in text.splitlines()
                ]
            }
        }
    ),
    "Elastic, original": lambda text: "".join(
        json.dumps({"message": line, "event": {"original": line}}) + "\n" for line in text.splitlines()
    ),
    "journalctl": records(_PID="812", PRIORITY="6", MESSAGE=None, _COMM="bench"),
    "CloudWatch": lambda text: json.dumps(
        {"events": [{"timestamp": 1, "message": line, "ingestionTime": 2} for line in text.splitlines()]}
    ),
    "GitHub's runner": lambda text: every_line("{t} {}")(records(level="info", msg=None)(text)),
    "JSON in a field of JSON": lambda text: json.dumps({"result": pretty(text)}),
}
HTML = {
    "pre": page("<pre>", "{}\n", "</pre>"),
    "br": page("<html><body>", "{}<br>\n", "</body></html>"),
    "br in one line": page("", "{}<br/>", ""),
    "a page": page(GITHUB_PAGE, "{}\n", "</code></pre></div></div></body></html>\n"),
    "GitLab's page": page("<div>", GITLAB_LINE, "</div>"),
    "GitHub's file": page("<table><tbody>", BLOB_LINE, "</tbody></table>"),
    "paragraphs": page("", "<p>{}</p>\n", ""),
    "list items": page("<ol>\n", "<li>{}</li>\n", "</ol>\n"),
    "coloured": page('<pre class="ansi">', '<span style="color:#0A0">{}</span>\n', "</pre>"),
    "entities": partial(html.escape, quote=True),
    "JUnit": lambda text: (
        '<?xml version="1.0"?>\n<testsuite><testcase name="bench"><system-out><![CDATA['
        f"{text}]]></system-out></testcase></testsuite>\n"
    ),
    "XML": lambda text: f"<log>\n<pre>{xml.sax.saxutils.escape(text)}</pre></log>\n",
    "details": lambda text: f"<details><summary>log</summary>\n\n```\n{text}\n```\n\n</details>\n",
}
TABLES = {
    "markdown": table(header=["| output |", "| --- |"]),
    "markdown, numbers": table(header=["| line | output |", "| ---: | :--- |"], number=True),
    "box": boxed,
}
ENCODINGS = {
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16, no mark": lambda text: text.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "a mail": lambda text: (
        "Content-Transfer-Encoding: quoted-printable\n\n" + quopri.encodestring(text.encode()).decode()
    ),
}


def chained(*names):
    """Several wrappers, one in the other, the first innermost."""

    def wrap(text):
        for name in names:
            text = SINGLE[name](text)
        return text

    return wrap


SINGLE = {**LINES, **JSON, **HTML, **TABLES, **ENCODINGS}
quoted = every_line("> {}")
SINGLE["quote"] = quoted
SINGLE["decimal commas"] = with_commas
NESTED = {
    " in ".join(names): chained(*names)
    for names in (
        ("cat -n", "quote", "UTF-16, no mark"),
        ("quote", "cat -n", "Windows", "UTF-16"),
        ("cat -n", "quote", "pre"),
        ("GitHub Actions", "cat -n", "quote", "br"),
        ("cat -n", "markdown"),
        ("GitHub Actions", "JSON, a field"),
        ("GitHub Actions", "docker"),
        ("gh run view", "quote"),
        ("docker", "GitHub Actions"),
        ("cat -n", "Cloud Logging", "quote"),
        ("docker compose", "GitHub Actions", "cat -n"),
        ("pre", "JSON, a field"),
        ("JSON, a field", "pre"),
        ("syslog", "JSON, a list", "UTF-16, big"),
        ("markdown, numbers", "quote"),
        ("decimal commas", "GitHub Actions", "JSON, a list", "UTF-16"),
    )
}
WRAPPERS = {**SINGLE, **NESTED}


def content(wrapped):
    return wrapped if isinstance(wrapped, bytes) else wrapped.encode()
