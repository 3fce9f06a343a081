"""The table of the command's exit codes; a code without a meaning is an error here."""

from __future__ import annotations

from _markdown import table

from keyhinge_cli import _exit

MEANINGS = {
    "DONE": "done, also where there was nothing left to do",
    "FAILED": "failed; the message says why",
    "USAGE": "wrong usage or configuration: trying again won't help",
    "PARTLY": "some rows failed. The others are done, the failed ones are as they were. Also where "
    "`--retry-failed` leaves rows that weren't among those that failed",
    "NOTHING": "no table or row matched at all: the wrong database? `--allow-empty` makes it 0",
    "NO": "the answer is no, or not known: `can-retire` found a value, or one may come back; "
    "`fence add` can't make the fence; `status` found a key version that was in use for longer "
    "than `maxKeyAge`",
    "UNSETTLED": "a migration was given up, because applications kept it from coming to an end; "
    "nothing failed and nothing is lost",
    "TEMPORARY": "temporary: try again",
    "INTERRUPTED": "interrupted by Ctrl-C. Nothing is lost; run it again to go on",
    "TERMINATED": "terminated by SIGTERM. Nothing is lost; run it again to go on",
}


def generate() -> dict[str, str]:
    """Return the table as `exit-codes.md`."""
    codes = {
        name: value
        for name, value in vars(_exit).items()
        if name in _exit.__all__ and isinstance(value, int)
    }
    rows = [[str(code), MEANINGS[name]] for name, code in codes.items()]
    return {"exit-codes.md": table(["code", "meaning"], rows)}
