"""The demonstration that ``python3 dev/quickstart.py`` shows: a real session, in `quickstart/`.

It ends with an exit code other than 0 if anything isn't as it should be.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "quickstart"
MARKER = FOLDER / ".made-by-the-demonstration"
SECRETS = 5000
PATIENCE = 20  # seconds for the application to do something

SECOND_SECTION = """\
  local-2:
    type: local
    keyFile: second.key
"""


class DemoError(Exception):
    """Something isn't as it should be."""


class Session:
    """Commands in the demonstration's folder, shown with what they print."""

    def __init__(self) -> None:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.bold, self.dim, self.plain = (
            ("\033[1m", "\033[2m", "\033[0m") if colour else ("", "", "")
        )
        programs = Path(sys.executable).parent
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("KEYHINGE_")}
        self.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self.environ.setdefault("COLUMNS", str(shutil.get_terminal_size((110, 24)).columns))

    def title(self, text: str) -> None:
        """Begin a chapter."""
        print(f"\n{self.bold}{text}{self.plain}", flush=True)

    def say(self, text: str) -> None:
        """Explain something."""
        print(f"{self.dim}# {text}{self.plain}", flush=True)

    def run(self, command: str, *, code: int = 0) -> None:
        """Show a command, run it and show its output."""
        print(f"{self.bold}$ {command}{self.plain}", flush=True)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=FOLDER,
            env=self.environ,
            stderr=subprocess.STDOUT,  # in the order in which it is written
            check=False,
        )
        if done.returncode != code:
            msg = f"`{command}` ended with exit code {done.returncode}, not {code}"
            raise DemoError(msg)

    def end_line(self) -> None:
        """End the line behind a secret: the command does that only on a terminal."""
        if not sys.stdout.isatty():
            print(flush=True)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Show a command and leave it running."""
        print(f"{self.bold}$ {command} &{self.plain}", flush=True)
        # By the path: Popen looks in our own PATH, not in that of `env`.
        program, *arguments = shlex.split(command)
        found = shutil.which(program, path=self.environ["PATH"]) or program
        return subprocess.Popen([found, *arguments], cwd=FOLDER, env=self.environ)


def main() -> int:
    """Play the session."""
    started = time.monotonic()
    prepare()
    session = Session()
    application: subprocess.Popen[bytes] | None = None
    try:
        set_up(session)
        look(session)
        add_section(session)
        application = session.start("python app.py run")
        wait_for_reads(application, 1)
        move(session, application)
        application = None
        prove(session)
    except DemoError as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    finally:
        if application is not None:
            application.kill()
            application.wait()
    session.title(f"Done, in {time.monotonic() - started:.0f} seconds.")
    session.say(f"Everything is in {FOLDER}, to be looked at and played with.")
    return 0


def prepare() -> None:
    """Make an empty folder; an older one of ours goes away."""
    if FOLDER.exists() and not MARKER.exists():
        sys.exit(f"{FOLDER} wasn't made by this demonstration: move it away, then start again")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    MARKER.touch()
    shutil.copy(ROOT / "dev" / "demo_app.py", FOLDER / "app.py")


def set_up(session: Session) -> None:
    """Make a configuration and store secrets."""
    session.title("1. Set up: a configuration, a key file, a database")
    session.run("keyhinge init")
    session.title("2. Store secrets")
    put = "keyhinge secrets put --account anna --kind plaid --id 1"
    session.run(f"echo access-token-of-anna | {put}")
    (FOLDER / "expected.json").write_text(json.dumps({"anna/1": "access-token-of-anna"}))
    session.run(f"python app.py fill {SECRETS}")


def look(session: Session) -> None:
    """Show what the database holds, and read a secret."""
    session.title("3. What does somebody see who gets hold of the database?")
    query = "SELECT account_id, secret FROM secrets LIMIT 2"
    session.run(
        'python -c "import sqlite3; '
        f"[print(*row) for row in sqlite3.connect('secrets.db').execute('{query}')]\""
    )
    session.say("No token stands in the file: grep finds none, so it ends with exit code 1.")
    session.run("grep --quiet access-token secrets.db", code=1)
    session.title("4. Whoever has the key reads them")
    session.run("keyhinge secrets get --account anna --id 1")
    session.end_line()


def add_section(session: Session) -> None:
    """Add a second key, without using it yet."""
    session.title("5. Add a second key, while the first one still encrypts")
    edit("\nstore:\n", f"\n{SECOND_SECTION}\nstore:\n")
    session.say("config.yaml has a second section now:")
    print(SECOND_SECTION, end="", flush=True)
    session.run("keyhinge local init local-2")
    session.run("keyhinge config check")
    session.title("6. An application runs: it adds, replaces, reads and deletes secrets")


def move(session: Session, application: subprocess.Popen[bytes]) -> None:
    """Switch to the second key and move everything there while the application writes."""
    session.title("7. Switch to the second key, and tell the application")
    edit("provider: local\n", "provider: local-2\n")
    session.say("config.yaml says `provider: local-2` now.")
    print(f"{session.bold}$ kill -HUP {application.pid}{session.plain}", flush=True)
    application.send_signal(signal.SIGHUP)
    wait_for_reads(application, 2)
    session.run("keyhinge status")
    session.title("8. Move what is stored, while the application keeps writing")
    before = now()
    session.run("keyhinge migrate --batch-size 100")
    written = count_since(before)
    if application.poll() is not None or not written:
        raise DemoError("the application didn't write during the migration")
    session.say(f"The application wrote {written:,} secrets meanwhile.")
    print(f"{session.bold}$ kill {application.pid}{session.plain}", flush=True)
    application.terminate()
    if application.wait(PATIENCE) != 0:
        raise DemoError("the application failed")


def prove(session: Session) -> None:
    """Show that nothing is under the old key and that nothing changed."""
    session.title("9. Prove that every secret is there, and under the second key")
    session.run("keyhinge status")
    session.run("keyhinge verify")
    session.run("python app.py prove")
    session.title("10. The first key isn't needed any more (older backups still need it)")
    session.run("mv keyhinge.key retired.key")
    session.run("keyhinge verify")
    session.run("keyhinge secrets get --account anna --id 1")
    session.end_line()


def edit(old: str, new: str) -> None:
    """Change the configuration, which must be as `keyhinge init` has written it."""
    file = FOLDER / "config.yaml"
    text = file.read_text()
    if text.count(old) != 1:
        msg = f"config.yaml doesn't have {old.strip()!r} once"
        raise DemoError(msg)
    file.write_text(text.replace(old, new))


def now() -> str:
    """Give this moment as SQLite has it in the table."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def count_since(moment: str) -> int:
    """Count the secrets that the application has written since; a migration isn't counted."""
    with contextlib.closing(sqlite3.connect(FOLDER / "secrets.db", timeout=PATIENCE)) as database:
        query = "SELECT count(*) FROM secrets WHERE updated_at > ?"
        return int(database.execute(query, (moment,)).fetchone()[0])


def wait_for_reads(application: subprocess.Popen[bytes], number: int) -> None:
    """Wait until the application has read its configuration `number` times."""
    log = FOLDER / "application.log"
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or len(log.read_text().splitlines()) < number:
        if application.poll() is not None or time.monotonic() > deadline:
            raise DemoError("the application doesn't run")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
