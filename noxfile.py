"""Every task of this repository. ``python3 dev/test.py`` runs the default ones."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.11.12"

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
PROJECT = nox.project.load_toml("pyproject.toml")
# name of the distribution -> its folder, core first
FOLDERS = {
    nox.project.load_toml(file)["project"]["name"]: file.parent.relative_to(ROOT).as_posix()
    for file in [ROOT / "core/pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
}
METADATA: dict[str, dict[str, Any]] = {
    name: nox.project.load_toml(f"{folder}/pyproject.toml")["project"]
    for name, folder in FOLDERS.items()
}
PROVIDERS = [
    name for name, data in METADATA.items() if "keyhinge.providers" in data.get("entry-points", {})
]


def pythons() -> list[str]:
    """Return the versions to test: those that core names, the next one and the running one."""
    known = [tuple(map(int, v.split("."))) for v in nox.project.python_versions(_project("core"))]
    following = (known[-1][0], known[-1][1] + 1)
    return [
        f"{major}.{minor}" for major, minor in sorted({*known, following, sys.version_info[:2]})
    ]


def _project(folder: str) -> dict[str, Any]:
    return nox.project.load_toml(f"{folder}/pyproject.toml")


def find_pyenv_pythons() -> None:
    """Let every Python that pyenv has installed be found, not only the one that is active."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [
        (tuple(map(int, folder.name.split("."))), folder.name)
        for folder in root.glob("versions/*")
        if re.fullmatch(r"3\.\d+\.\d+", folder.name)
    ]
    if names := [name for version, name in sorted(found, reverse=True) if version >= (3, 10)]:
        os.environ["PYENV_VERSION"] = ":".join(names)


find_pyenv_pythons()
os.environ["UV_PYTHON_DOWNLOADS"] = "never"  # test what is there; a missing Python is reported
PYTHONS = pythons()
NEWEST = [version for version in PYTHONS if shutil.which(f"python{version}")][-1:]
# The Pythons between the oldest and the newest have the newest dependencies, as the newest has, and
# what fails on them alone is a rarity: they get what is about values, and a look at the rest.
BETWEEN = (
    *("tests/core", "tests/local", "tests/plaintext", "tests/vectors"),
    *(
        f"tests/store/test_store_{name}.py"
        for name in ("async", "basic", "binding", "leaks", "migrate")
    ),
    *(f"tests/cli/test_cli_{name}.py" for name in ("crypt", "migrate", "secrets", "start")),
)
# What kills processes and databases, goes through all services or makes environments of its own
# runs on the newest alone.
SLOWEST = (
    "tests/integration",
    *(f"tests/packaging/test_packaging_{name}.py" for name in ("example", "tutorial")),
    *(
        f"tests/store/test_store_{name}.py"
        for name in ("faults", "pgbouncer", "processes", "staged")
    ),
)
# Many tests wait for a database, a server or a process: four at a time keep two processors busy.
PARALLEL = ("--numprocesses", "4", "--dist", "worksteal")
RAN: list[str] = []  # the Pythons that the tests ran on

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "lint",
    "typing",
    "build",
    "tests",
    "matrix",
    "provider",
    "alone",
    "docs",
    "examples",
    "quickstart",
]


def install(session: nox.Session, *groups: str, names: tuple[str, ...] = tuple(FOLDERS)) -> None:
    """Install the distributions `names` from this tree, editable, and the dependency `groups`."""
    # One call: the extras of core point back at the plugins, and none is to come from an index.
    paths = [part for name in names for part in ("--editable", FOLDERS[name] + extras(name))]
    session.install(*paths, *dependencies(*groups))


def dependencies(*groups: str) -> tuple[str, ...]:
    """Return the requirements of the dependency `groups` of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, *groups)


def extras(name: str) -> str:
    """Return the extras of a plugin, as ``[postgresql]``. Those of core only name the plugins."""
    optional = METADATA[name].get("optional-dependencies", {})
    return f"[{','.join(optional)}]" if optional and name != "keyhinge" else ""


def closure(name: str) -> tuple[str, ...]:
    """Return the distributions of this repository that `name` depends on, and itself, last."""
    required = [re.split(r"[^\w-]", item)[0] for item in METADATA[name].get("dependencies", [])]
    before = [other for needed in required if needed in FOLDERS for other in closure(needed)]
    return (*dict.fromkeys(before), name)


def built(name: str, suffix: str = ".whl") -> str:
    """Return the path of the one file that `build` made for a distribution.

    Tests install exact files: an upload by a stranger under the same name can't win against a path.
    """
    stem = f"{name.replace('-', '_')}-{METADATA[name]['version']}"
    (file,) = [
        path
        for path in DIST.iterdir()
        if re.match(rf"{re.escape(stem)}[-.]", path.name) and path.name.endswith(suffix)
    ]
    return str(file)


def install_lowest(session: nox.Session, *wheels: str) -> None:
    """Install the lowest versions that are declared, and keep them for what comes after."""
    needs = [
        requirement
        for data in METADATA.values()
        for group in (data["dependencies"], *data.get("optional-dependencies", {}).values())
        for requirement in group
        if not requirement.startswith("keyhinge")
    ]
    session.install("--resolution", "lowest-direct", *needs, *wheels)
    lowest = session.run("uv", "--quiet", "pip", "freeze", "--exclude-editable", silent=True)
    constraints = Path(session.virtualenv.location) / "lowest.txt"
    pins = [line for line in str(lowest).splitlines() if "==" in line]
    constraints.write_text("\n".join(pins), encoding="utf-8")
    session.env["UV_CONSTRAINT"] = str(constraints)


def pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run pytest in this session's environment; what stands behind ``--`` is passed on."""
    session.run("python", "-m", "pytest", *arguments, *session.posargs, env=env)


def check_consistent(session: nox.Session) -> None:
    """Fail if an installed distribution lacks a dependency."""
    if session.venv_backend == "uv":
        session.run("uv", "pip", "check", silent=True)
    else:
        session.run("python", "-m", "pip", "check", silent=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting (ruff)."""
    session.install(*dependencies("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Types (mypy --strict) of packages, tests, documentation, tools and generated code."""
    install(session, "typing")
    session.run("mypy", *session.posargs)
    session.run("python", "-m", "pytest", "-q", "tests/packaging/test_packaging_scaffold_style.py")


@nox.session(python=PYTHONS, requires=["build"], reuse_venv=False)
def tests(session: nox.Session) -> None:
    """The whole suite against the built wheels, on every installed CPython from 3.10 up.

    The oldest Python gets the lowest versions of all dependencies that the packages declare.
    The slowest run on the newest alone; those between the two get a part.
    """
    wheels = [built(name) + extras(name) for name in FOLDERS]
    if session.python == PYTHONS[0] and session.venv_backend == "uv":
        install_lowest(session, *wheels)
    session.install(*wheels, *dependencies("test"))
    check_consistent(session)
    session.run("python", "-I", "dev/check_installed.py", *FOLDERS)
    RAN.append(str(session.python))
    chosen: tuple[str, ...] = BETWEEN
    if session.python in NEWEST:
        chosen = ("tests",)
    elif session.python == PYTHONS[0]:
        chosen = ("tests", *(f"--ignore={place}" for place in SLOWEST))
    pytest(session, *PARALLEL, "--durations=15", *chosen, env={"KEYHINGE_TEST_DIST": str(DIST)})


@nox.session(python=False)
def matrix(session: nox.Session) -> None:
    """Say which Pythons were tested and which are missing here; one at least must have been."""
    missing = [version for version in PYTHONS if version not in RAN]
    session.log(
        f"tested on CPython: {', '.join(RAN) or 'none'}; not tested: {', '.join(missing) or 'none'}"
    )
    if not RAN:
        session.error("the tests ran on no Python at all")


@nox.session
@nox.parametrize("name", PROVIDERS, ids=[name.removeprefix("keyhinge-") for name in PROVIDERS])
def provider(session: nox.Session, name: str) -> None:
    """One provider with no other plugin: its tests, or the kit where it is slow; once core's."""
    names = closure(name)
    short = name.removeprefix("keyhinge-")
    services = [group for group in PROJECT["dependency-groups"] if group == f"test-{short}"]
    install(session, "test-core", *services, names=names)
    session.run("python", "-I", "dev/check_installed.py", "--editable-allowed", *names)
    # Alone it has to do all that a provider must; the rest of a slow suite has run already.
    kit = f"tests/{short}/test_{short}_conformance.py"
    # Core's tests use no provider: once is enough, where only the smallest is installed.
    core = ["tests/core"] if short == "plaintext" else []
    pytest(session, *PARALLEL, *([kit] if services else [*core, f"tests/{short}"]))


@nox.session
def build(session: nox.Session) -> None:
    """A wheel and an sdist of each distribution, in dist/; the wheel is built from the sdist."""
    uv = session.venv_backend == "uv"
    session.install("build[uv]" if uv else "build")
    shutil.rmtree(DIST, ignore_errors=True)
    for folder in FOLDERS.values():
        installer = ["--installer", "uv"] if uv else []
        session.run("python", "-m", "build", *installer, "--outdir", str(DIST), folder, silent=True)


@nox.session(requires=["build"], reuse_venv=False)
@nox.parametrize("name", list(FOLDERS), ids=list(FOLDERS))
def alone(session: nox.Session, name: str) -> None:
    """One distribution from its wheel in a new environment, with its dependencies alone."""
    names = closure(name)
    session.install(*[built(each) for each in names])
    check_consistent(session)
    session.run("python", "-I", "-W", "error", "dev/check_installed.py", *names)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, in site/; a warning is an error."""
    install(session, "docs")
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    session.run(
        "sphinx-build", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html", "docs", "site"
    )
    session.log(f"the documentation is in {ROOT / 'site/index.html'}")


@nox.session
def examples(session: nox.Session) -> None:
    """Execute every example of the documentation and of the README."""
    install(session, "test")
    # The examples of a page build on each other, but pages don't: each goes to one process whole.
    pages = ("--numprocesses", "3", "--dist", "loadfile", "docs", "README.md")
    pytest(session, "-p", "docs_examples", *pages, env={"PYTHONPATH": str(ROOT / "dev")})


@nox.session
def quickstart(session: nox.Session) -> None:
    """Run the demonstration that ``python3 dev/quickstart.py`` shows."""
    install(session)
    session.run("python", "dev/demo.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks (all of benchmarks/, or the programs named behind ``--``)."""
    install(session, "bench")
    programs = session.posargs or sorted(str(path) for path in ROOT.glob("benchmarks/[!_]*.py"))
    for program in programs:
        session.run("python", program)


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines and branches the tests reach."""
    install(session, "coverage")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session
def changelog(session: nox.Session) -> None:
    """Show the next entry of the changelog, from changelog.d/; ``-- --version X`` writes it."""
    session.install(*dependencies("changelog"))
    version = METADATA["keyhinge"]["version"]
    session.run("towncrier", "build", *(session.posargs or ["--draft", "--version", version]))
