"""The documentation's Kubernetes manifests: fields, commands, configuration, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from click import Context, UsageError
from tests.integration._manifests import FOLDER, KINDS, documents, jobs, problems

from keyhinge_cli import _exit
from keyhinge_cli._main import cli
from keyhinge_cli._options import Invocation

CODES = {
    value
    for name, value in vars(_exit).items()
    if name in _exit.__all__ and isinstance(value, int) and value
}
FOUND = documents()
KIND_OF_JOB = pytest.mark.parametrize("job", jobs(FOUND).values(), ids=jobs(FOUND))
CONTAINERS = [
    container for job in jobs(FOUND).values() for container in job["template"]["spec"]["containers"]
]
EACH = pytest.mark.parametrize("container", CONTAINERS, ids=lambda each: each["name"])


def rules(job) -> dict[str, list[dict[str, Any]]]:
    """The rules of a job's podFailurePolicy, by their action."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in job["podFailurePolicy"]["rules"]:
        found.setdefault(rule["action"], []).append(rule)
    return found


def codes(job, action) -> list[int]:
    """The exit codes that have an action."""
    return [code for rule in rules(job)[action] for code in rule["onExitCodes"]["values"]]


class TestFields:
    def test_every_kind_is_there(self) -> None:
        kinds = {(each["apiVersion"], each["kind"]) for each in FOUND.values()}
        assert kinds == KINDS.keys()

    @pytest.mark.parametrize("kind", FOUND)
    def test_every_field_exists(self, kind) -> None:
        document = FOUND[kind]
        known = KINDS[document["apiVersion"], kind]
        assert list(problems(document, known, kind)) == []

    def test_a_slip_is_found(self) -> None:
        """The comparison itself: a wrong name, a wrong type, a list in place of a value."""
        known = KINDS["batch/v1", "Job"]
        wrong = {"spec": {"paralelism": 3, "backoffLimit": "6", "template": []}}
        assert list(problems(wrong, known, "Job")) == [
            "Job.spec: no field 'paralelism'",
            "Job.spec.backoffLimit: '6' isn't of the right type",
            "Job.spec.template: [] isn't of the right type",
        ]

    def test_all_are_in_one_namespace(self) -> None:
        assert {each["metadata"]["namespace"] for each in FOUND.values()} == {"production"}

    @KIND_OF_JOB
    def test_what_a_pod_names_exists(self, job) -> None:
        """Volumes are mounted, and made of the ConfigMap and the Secret that are here."""
        pod = job["template"]["spec"]
        config, secrets = pod["volumes"]
        assert config["configMap"]["name"] == FOUND["ConfigMap"]["metadata"]["name"]
        names = [s["secret"]["name"] for s in secrets["projected"]["sources"] if "secret" in s]
        assert names == [FOUND["Secret"]["metadata"]["name"]]
        for container in pod["containers"]:
            mounts = container["volumeMounts"]
            assert [m["name"] for m in mounts] == [config["name"], secrets["name"]]
            assert all(mount["readOnly"] for mount in mounts)


class TestSecurity:
    @KIND_OF_JOB
    def test_a_pod_has_no_rights(self, job) -> None:
        pod = job["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}

    @EACH
    def test_a_container_has_no_rights(self, container) -> None:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_the_image_runs_as_the_same_user(self) -> None:
        user = re.search(r"^USER (\d+):", (FOLDER / "Containerfile").read_text(), re.MULTILINE)
        assert user is not None
        for job in jobs(FOUND).values():
            assert job["template"]["spec"]["securityContext"]["runAsUser"] == int(user[1])


class TestExitCodes:
    @KIND_OF_JOB
    def test_each_has_one_action(self, job) -> None:
        """A new exit code has to be thought about here. 0 is no failure, and may not be named."""
        assert sorted(codes(job, "FailJob") + codes(job, "Count")) == sorted(CODES)
        for rule in rules(job)["FailJob"] + rules(job)["Count"]:
            assert rule["onExitCodes"]["operator"] == "In"
        assert job["template"]["spec"]["restartPolicy"] == "Never"

    @KIND_OF_JOB
    def test_what_may_pass_is_tried_again(self, job) -> None:
        assert {_exit.TEMPORARY, _exit.INTERRUPTED, _exit.TERMINATED} <= set(codes(job, "Count"))
        assert job["backoffLimit"] > 0

    def test_a_migration(self) -> None:
        """One that came to no end goes on; one that failed waits for a person."""
        job = jobs(FOUND)["Job"]
        assert _exit.UNSETTLED in codes(job, "Count")
        assert {_exit.FAILED, _exit.USAGE, _exit.PARTLY, _exit.NOTHING} <= set(
            codes(job, "FailJob")
        )

    @KIND_OF_JOB
    def test_a_disruption_comes_first(self, job) -> None:
        """Whatever a pod's exit code is when it is preempted, another one decides."""
        first = job["podFailurePolicy"]["rules"][0]
        assert first["action"] == "Ignore"
        assert first["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]

    def test_the_page_explains_each(self) -> None:
        page = (FOLDER.parents[1] / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
        explained = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
        assert sorted(map(int, explained)) == [0, *sorted(CODES)]


class TestCommands:
    @EACH
    def test_it_parses(self, container) -> None:
        """Each option exists, and has a value that it may have."""
        name, *arguments = container["args"]
        with Context(cli) as context:
            command = cli.get_command(context, name)
            assert command is not None
            with command.make_context(name, arguments, parent=context) as inner:
                assert inner.ensure_object(Invocation).config == container["args"][2]

    def test_a_slip_is_found(self) -> None:
        """The check itself: an option that doesn't exist, a value that isn't a number."""
        with Context(cli) as context:
            command = cli.get_command(context, "migrate")
            assert command is not None
            for wrong in (["--patiense", "600"], ["--patience", "long"], ["--json", "more"]):
                with pytest.raises(UsageError):
                    command.make_context("migrate", wrong, parent=context)

    @EACH
    def test_it_reads_the_mounted_configuration(self, container) -> None:
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        [file] = FOUND["ConfigMap"]["data"]
        assert container["args"][1:3] == ["--config", f"{mounts['config']}/{file}"]


def keyhinge(*arguments) -> subprocess.Popen[str]:
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "keyhinge_cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process) -> tuple[int, str]:
    """Wait for a command: its exit code, and what it said."""
    out, err = process.communicate()
    return process.returncode, out + err


class TestConfiguration:
    def test_it_is_right(self, tmp_path) -> None:
        """`keyhinge config check` finds nothing, also not about the mounted files."""
        [(name, text)] = FOUND["ConfigMap"]["data"].items()
        (tmp_path / name).write_text(text, encoding="utf-8")
        code, said = ended(keyhinge("config", "check", "--config", tmp_path / name))
        assert code == 0, said
        assert "nothing is wrong" in said

    @KIND_OF_JOB
    def test_its_files_are_mounted(self, job) -> None:
        """What `…File` keys name is what the Secret and the projected tokens are mounted as."""
        configuration = FOUND["ConfigMap"]["data"]["config.yaml"]
        named = set(re.findall(r"File: (\S+)", configuration))
        [secrets] = [v["projected"] for v in job["template"]["spec"]["volumes"] if "projected" in v]
        tokens = [
            s["serviceAccountToken"]["path"]
            for s in secrets["sources"]
            if "serviceAccountToken" in s
        ]
        files = [*FOUND["Secret"]["stringData"], *tokens]
        assert named == {f"/run/secrets/keyhinge/{file}" for file in files}


def test_three_pods_share_one_migration(tmp_path, postgres_url) -> None:
    """With the Job's arguments and parallelism: all end with 0 when all of it is done."""
    job = jobs(FOUND)["Job"]
    local = {"type": "local", "keyFile": "old.key"}
    sections = {"old": local, "new": {"type": "local", "keyFile": "new.key"}}
    url = tmp_path / "database-url"
    url.write_text(postgres_url, encoding="utf-8")
    for primary in sections:
        file = tmp_path / f"{primary}.yaml"
        config = {
            "keyManagement": {"provider": primary, **sections},
            "store": {"urlFile": str(url)},
        }
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        assert ended(keyhinge("local", "init", primary, "--config", file))[0] == 0
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    assert ended(keyhinge("store", "init", "--config", old))[0] == 0

    from keyhinge import KeyManager
    from keyhinge_store import NewSecret, open_store, status

    with KeyManager.open(old) as keys, open_store(keys) as store:
        store.put_many(NewSecret("a", "k", f"token-{n}", f"s{n}") for n in range(3000))
    [container] = job["template"]["spec"]["containers"]
    mounted = container["args"][2]
    arguments = [new if each == mounted else each for each in container["args"]]
    results = [ended(pod) for pod in [keyhinge(*arguments) for _ in range(job["parallelism"])]]

    assert [code for code, _ in results] == [0, 0, 0], results
    with KeyManager.open(new) as keys, open_store(keys) as store:
        assert {(label.section, label.values) for label in status(store).labels} == {("new", 3000)}
