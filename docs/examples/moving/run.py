"""Move an application's secrets to another section under load, and back.

    python docs/examples/moving/run.py [--database URL] [--replicas N] [--skip-step-1]

Without --database, or KEYHINGE_DATABASE, it makes an SQLite file. Another database is to be empty.
It ends with exit code 0 if no read and no write has failed, and nothing is lost.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from fleet import Fleet, FleetError
from load import issue
from operating import CommandError, keyhinge, migrate, stale
from proof import LostError, prove
from service import BankTokens, Key, create_table

from keyhinge import KeyManager
from keyhinge_store import open_tables

CONFIGURATIONS = Path(__file__).with_name("config")
SEEDED = [Key(account, bank) for account in range(-400, 0) for bank in ("east", "north", "west")]
SLOWLY = ("--rate", "400", "--batch-size", "50")  # or it would be over before we could look


class Procedure:
    """The seven steps, and the way back.

    Args:
        folder: Where the configurations and the key files are.
        fleet: The replicas.
    """

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.fleet = fleet
        self.before, self.step_1, self.step_2, self.step_7 = (
            folder / f"step-{number}.yaml" for number in (0, 1, 2, 7)
        )

    def prepare(self) -> None:
        """Make the old key, the table and some tokens, and start the application."""
        keyhinge(self.before, "local", "init", "local")
        create_table(os.environ["KEYHINGE_DATABASE"])
        with KeyManager.open(self.before) as keys, open_tables(keys) as tables:
            BankTokens(tables).add(issue(key, 0) for key in SEEDED)
        say("before: every replica knows the old section only")
        self.fleet.roll(self.before)

    def add_section(self) -> None:
        """Step 1: the new section decrypts, everywhere."""
        say("1. add the new section, and let every replica know it")
        keyhinge(self.step_1, "local", "init", "second")
        keyhinge(self.step_1, "check")  # with replicas on several machines: on each of them
        self.fleet.roll(self.step_1)

    def switch(self) -> None:
        """Step 2: it encrypts."""
        say("2. switch the provider, one replica after the other")
        self.fleet.roll(self.step_2)

    def move(self, config: Path) -> None:
        """Steps 3 and 4: bring the stored values to the primary section, and open every one."""
        say("3. migrate: a dry run, then two processes")
        keyhinge(config, "migrate", "--dry-run")
        reports = migrate(config, *SLOWLY)
        say("   moved: " + " and ".join(f"{report['moved']:,}" for report in reports))
        self.fleet.watch(0)
        say("4. verify")
        keyhinge(config, "verify")

    def fence(self, config: Path, section: str) -> None:
        """Step 5: nobody is left who encrypts with the other section, and nobody can come back."""
        say("5. fence the other section off; can-retire says that it isn't needed any more")
        if left := stale(config):
            msg = f"{left} values are stale again: somebody still writes as before step 2"
            raise LostError(msg)
        keyhinge(config, "fence", "add", section)
        keyhinge(config, "can-retire", section)

    def remove_section(self) -> None:
        """Steps 6 and 7: with backups of database and key, the old section may go."""
        say("6. (here you back up the database and the new key, apart)")
        say("7. remove the old section")
        self.fleet.roll(self.step_7)

    def go_back(self) -> None:
        """All of it in the other direction: the same files, from the last to the first."""
        say("back: the old section is added again, then encrypts")
        self.fleet.roll(self.step_2)
        keyhinge(self.step_2, "fence", "remove", "local")
        self.fleet.roll(self.step_1)
        self.move(self.step_1)
        self.fence(self.step_1, "second")
        self.fleet.roll(self.before)

    def end(self, config: Path) -> None:
        """Stop the application and prove that nothing is lost."""
        self.fleet.stop()
        print(prove(config, SEEDED, self.fleet.journals), flush=True)


def there_and_back(procedure: Procedure) -> None:
    """Go through all of it."""
    procedure.prepare()
    procedure.add_section()
    procedure.switch()
    procedure.move(procedure.step_2)
    procedure.fence(procedure.step_2, "local")
    procedure.remove_section()
    procedure.end(procedure.step_7)
    procedure.fleet.roll(procedure.step_7)
    procedure.go_back()
    procedure.end(procedure.before)


def without_step_1(procedure: Procedure) -> None:
    """Make the one mistake that causes downtime."""
    procedure.prepare()
    keyhinge(procedure.step_1, "local", "init", "second")
    # In the time of one pause, somebody reads what a new replica has written.
    procedure.fleet.roll(procedure.step_2, pause=60)


def say(text: str) -> None:
    """Tell what happens now."""
    print(text, flush=True)


def main() -> int:
    """Run the example in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--database", default=os.environ.get("KEYHINGE_DATABASE"), metavar="URL")
    parser.add_argument("--replicas", type=int, default=3, metavar="N")
    parser.add_argument("--skip-step-1", action="store_true", help="see what happens then")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-moving-"))
    shutil.copytree(CONFIGURATIONS, folder, dirs_exist_ok=True)
    os.environ["KEYHINGE_DATABASE"] = given.database or f"sqlite:///{folder / 'bank.db'}"
    fleet = Fleet(given.replicas)
    try:
        (without_step_1 if given.skip_step_1 else there_and_back)(Procedure(folder, fleet))
    except (CommandError, FleetError, LostError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        fleet.kill()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
