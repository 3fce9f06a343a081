"""The tests on each Python, and the linters. `nox` runs all of it."""

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the conformance kit against the installed package."""
    session.install(".", *nox.project.dependency_groups(PYPROJECT, "test"))
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    tools = ["ruff>=0.12", "mypy>=1.16", "nox"]
    groups = nox.project.dependency_groups(PYPROJECT, "test")
    session.install("--editable", ".", *groups, *tools)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "--strict", "src", "tests", "noxfile.py")
