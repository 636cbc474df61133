"""`python -m tests.conformance [FOLDER|FILE]...`: how far the simulator agrees with recorded exchanges."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.conformance.recording import recordings
from tests.conformance.replay import replay

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def main(arguments: list[str]) -> int:
    """Replays the recordings, prints disagreements and the table; 2 when there is nothing to replay."""
    paths = [
        path
        for argument in arguments or [str(TRANSCRIPTS)]
        for path in (recordings(Path(argument)) if Path(argument).is_dir() else [Path(argument)])
    ]
    if not paths:
        sys.stderr.write(f"no recordings (*.jsonl) in {' '.join(arguments)}\n")
        return 2
    table = Table("recording", "agree", "of", "", title="Conformance")
    agreed = total = 0
    for path in paths:
        try:
            result = replay(path)
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        for found in result.disagreements:
            print(f"{path.name}:{found.exchange.line} {found}")
        for line in result.recording.odd_lines:
            print(f"{path.name}:{line} is no exchange: not counted")
        table.add_row(path.name, str(result.agreed), str(result.total), _percent(result.agreed, result.total))
        agreed += result.agreed
        total += result.total
    table.add_section()
    table.add_row("all", str(agreed), str(total), _percent(agreed, total))
    Console(width=100).print(table)
    print(f"{agreed} of {total} exchanges agree")
    return 0


def _percent(agreed: int, total: int) -> str:
    return f"{100 * agreed / total:.1f} %" if total else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
