"""The manifests of infra/kuberay: valid, alike where they must be, and in step with the code that they run.

`tests.infra.manifests` says which schemas they are held to: the published ones of Kubernetes, and for KubeRay's kinds
one written from its API types. What no schema knows is checked here: the embedded Serve config is what Serve accepts,
its application can be built, every command parses with its own job's parser, images' paths and users agree with
infra/docker, nothing runs as root, and no secret is written down.
"""

from __future__ import annotations

import copy
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from pydantic import BaseModel
from ray.serve._private.build_app import build_app
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from deployments.graph import BuildArgs, build
from jobs.command import parser_of
from tests.infra.manifests import clusters, load_all, pod_templates, problems

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "kuberay"
FILES = sorted(FOLDER.glob("*.yaml"))
MANIFESTS = {
    f"{path.name}:{manifest['kind']}:{manifest['metadata'].get('name', '')}": manifest
    for path in FILES
    for manifest in load_all(path)
}
TEMPLATES = {
    f"{name}:{path}": template
    for name, manifest in MANIFESTS.items()
    for path, template in pod_templates(manifest)
}
CLUSTERS = {name: each for name, manifest in MANIFESTS.items() for each in clusters(manifest)}
SETTINGS = MANIFESTS["settings.yaml:ConfigMap:aisle-settings"]["data"]
SERVICE = MANIFESTS["rayservice.yaml:RayService:aisle"]["spec"]
FAST_PATH = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]


def of_aisle() -> list[Any]:
    """Every container that runs the project's own image."""
    return [
        pytest.param(template, container, id=f"{name}:{container['name']}")
        for name, template in TEMPLATES.items()
        for container in containers(template)
        if "/aisle:" in container["image"]
    ]


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_is_valid(name):
    assert problems(MANIFESTS[name]) == []


SERVICE_NAME, JOB_NAME = "rayservice.yaml:RayService:aisle", "rayjob.yaml:RayJob:"
NIGHTLY_NAME = "raycronjob.yaml:RayCronJob:aisle-reindex"
CRON_NAME, POLICY_NAME = (
    "cronjob.yaml:CronJob:aisle-reindex",
    "networkpolicy.yaml:NetworkPolicy:aisle-ray",
)
# What is wrong: manifest, path below its spec, value, and what the one complaint must say.
WRONG: dict[str, tuple[str, str, Any, str]] = {
    "a mistyped key of KubeRay's": (SERVICE_NAME, "serveConfigv2", "x", "'serveConfigv2'"),
    "a mistyped key in a worker group": (
        SERVICE_NAME,
        "rayClusterConfig/workerGroupSpecs/0/minReplica",
        1,
        "'minReplica'",
    ),
    "a mistyped key of Kubernetes' in a pod": (
        SERVICE_NAME,
        "rayClusterConfig/headGroupSpec/template/spec/restartPolice",
        "Never",
        "'restartPolice'",
    ),
    "a number where ray start takes text": (
        SERVICE_NAME,
        "rayClusterConfig/headGroupSpec/rayStartParams/num-cpus",
        0,
        "not of type 'string'",
    ),
    "an unknown upgrade": (SERVICE_NAME, "upgradeStrategy/type", "Roll", "not one of"),
    "an incremental upgrade without its options": (
        SERVICE_NAME,
        "upgradeStrategy/type",
        "NewClusterWithIncrementalUpgrade",
        "'clusterUpgradeOptions' is a required",
    ),
    "Redis without an address": (
        SERVICE_NAME,
        "rayClusterConfig/gcsFaultToleranceOptions",
        {"backend": "redis"},
        "'redisAddress' is a required",
    ),
    "a password both written and referred to": (
        SERVICE_NAME,
        "rayClusterConfig/gcsFaultToleranceOptions/redisPassword/value",
        "secret",
        "valid under each of",
    ),
    "a cluster without a head": (
        SERVICE_NAME,
        "rayClusterConfig",
        {"rayVersion": "2.60.0"},
        "'headGroupSpec' is a required",
    ),
    "a time to live for a cluster that stays": (
        JOB_NAME,
        "shutdownAfterJobFinishes",
        False,
        "True was expected",
    ),
    "an unknown way to submit": (JOB_NAME, "submissionMode", "Ssh", "not one of"),
    "a retry count as text": (JOB_NAME, "backoffLimit", "one", "not of type 'integer'"),
    "a policy that RayCronJob does not have": (
        NIGHTLY_NAME,
        "concurrencyPolicy",
        "Forbid",
        "'concurrencyPolicy' was unexpected",
    ),
    "an empty time zone": (NIGHTLY_NAME, "timeZone", "", "non-empty"),
    "a mistyped key of a CronJob": (CRON_NAME, "concurencyPolicy", "Forbid", "'concurencyPolicy'"),
    "a mistyped key in a network policy": (POLICY_NAME, "ingress/0/form", [], "'form'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_an_api_server_would_refuse_is_refused(case):
    name, path, value, says = WRONG[case]
    manifest = copy.deepcopy(MANIFESTS[name])
    node: Any = manifest["spec"]
    *parents, last = path.split("/")
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[last] = value
    (problem,) = problems(manifest)
    assert says in problem


@pytest.mark.parametrize("field", ["spec", "metadata", "kind"])
def test_a_missing_top_level_field_is_refused(field):
    manifest = copy.deepcopy(MANIFESTS["rayjob.yaml:RayJob:"])
    del manifest[field]
    assert problems(manifest) != []


def unknown_keys(model: type[BaseModel], given: dict[str, Any]) -> set[str]:
    known = {name for name, field in model.model_fields.items()} | {
        field.alias for field in model.model_fields.values() if field.alias
    }
    return set(given) - known


def test_serve_accepts_the_embedded_config_and_its_application_is_built(monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    raw = yaml.safe_load(SERVICE["serveConfigV2"])
    config = ServeDeploySchema.model_validate(raw)
    (application,) = config.applications
    # Serve's own models let unknown keys pass, so a mistyped one would be a setting that silently does nothing.
    assert unknown_keys(ServeDeploySchema, raw) == set()
    assert unknown_keys(ServeApplicationSchema, raw["applications"][0]) == set()
    for deployment in raw["applications"][0]["deployments"]:
        assert unknown_keys(DeploymentSchema, deployment) == set()
    module, _, attribute = application.import_path.partition(":")
    assert getattr(importlib.import_module(module), attribute) is build
    built = build_app(build(BuildArgs.model_validate(application.args)), name=application.name)
    names = {each.name for each in built.deployments}
    assert {each.name for each in application.deployments} <= names


def test_the_embedded_config_is_the_one_for_serve_deploy():
    separate = yaml.safe_load((ROOT / "infra/serve/production.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(SERVICE["serveConfigV2"]) == separate


def test_serving_nodes_have_room_for_every_replica_and_none_for_a_task_of_the_night(monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    application = build(BuildArgs(config=str(ROOT / "configs/production.yaml")))
    wanted = [
        ((each.ray_actor_options or {}).get("num_cpus", 1.0), each.num_replicas or 1)
        for each in build_app(application, name="aisle").deployments
    ]
    groups = {each["groupName"]: each for each in SERVICE["rayClusterConfig"]["workerGroupSpecs"]}
    serving, batch = groups["serving"], groups["batch"]
    a_node = float(serving["rayStartParams"]["num-cpus"])
    assert sum(cpus * n for cpus, n in wanted) <= a_node * serving["minReplicas"]
    assert a_node - min(cpus for cpus, _ in wanted) < 1.0
    production = yaml.safe_load((ROOT / "configs/production.yaml").read_text(encoding="utf-8"))
    # The embedding pool, a task that feeds it, and the driver.
    needed = production["ray"]["embed_workers"] + 2
    assert float(batch["rayStartParams"]["num-cpus"]) * batch["maxReplicas"] >= needed
    alone = MANIFESTS["rayjob.yaml:RayJob:"]["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert float(alone["rayStartParams"]["num-cpus"]) * alone["replicas"] >= needed


def commands() -> list[Any]:
    """Every `python -m jobs.X ...` that a manifest runs, its arguments split as a shell would."""
    found = []
    for name, manifest in MANIFESTS.items():
        for text in _texts(manifest):
            if "jobs." in text and "python -m" in text:
                words = shlex.split(text)
                found.append(pytest.param(words[words.index("-m") + 1 :], id=name))
        for path, template in pod_templates(manifest):
            for container in containers(template):
                words = container.get("command", [])
                if words[:2] == ["python", "-m"]:
                    found.append(pytest.param(words[2:], id=f"{name}:{path}"))
    return found


def _texts(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [text for child in children for text in _texts(child)]


def test_commands_are_found_in_every_manifest_that_schedules():
    (ids,) = [{each.id.split(":")[1] for each in commands()}]
    assert {"CronJob", "RayJob", "RayCronJob"} <= ids


@pytest.mark.parametrize("words", commands())
def test_every_command_parses_with_its_jobs_own_parser(words):
    module = importlib.import_module(words[0])
    parser = parser_of(
        words[0].removeprefix("jobs."), module.__doc__, getattr(module, "add_arguments", None)
    )
    arguments = parser.parse_args(words[1:])
    assert (ROOT / arguments.config).is_file()


def test_the_night_is_submitted_under_an_id_that_the_day_decides_and_never_twice_at_once():
    cron = MANIFESTS["cronjob.yaml:CronJob:aisle-reindex"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    (container,) = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    # jobs.submit makes the id of the environment's name and the date; tests/unit/jobs hold it to that.
    assert container["command"][:3] == ["python", "-m", "jobs.submit"]
    assert {"--no-upload", "--driver-cpus"} <= set(container["command"])
    address = next(e["value"] for e in container["env"] if e["name"] == "RAY_API_SERVER_ADDRESS")
    service = MANIFESTS["rayservice.yaml:RayService:aisle"]["metadata"]["name"]
    assert address == f"http://{service}-head-svc:8265"


def test_prune_starts_when_the_longest_night_has_ended():
    night = MANIFESTS["cronjob.yaml:CronJob:aisle-reindex"]["spec"]
    prune = MANIFESTS["cronjob.yaml:CronJob:aisle-prune"]["spec"]
    hours = [int(each["schedule"].split()[1]) for each in (night, prune)]
    longest_s = (
        night["startingDeadlineSeconds"] + night["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    )
    assert (hours[1] - hours[0]) * 3600 >= longest_s


def test_the_alpha_alternative_runs_the_same_job():
    once = MANIFESTS["rayjob.yaml:RayJob:"]["spec"]
    nightly = MANIFESTS["raycronjob.yaml:RayCronJob:aisle-reindex"]["spec"]
    assert nightly["jobTemplate"] == once


def test_everything_that_production_takes_from_the_environment_is_set():
    text = (ROOT / "configs/production.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= SETTINGS.keys()
    assert SETTINGS.keys() <= set(re.findall(r"\$\{(\w+)", text))


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_run_the_installed_ray_with_a_token_and_a_head_that_only_keeps_the_books(name):
    cluster = CLUSTERS[name]
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["authOptions"]["secretName"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_every_serving_node_has_the_fast_path_before_ray_starts():
    cluster = SERVICE["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) == 3
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        set_there = {each["name"]: each.get("value") for each in container["env"]}
        assert FAST_PATH.items() <= set_there.items()


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_runs_as_root_or_unbounded_or_without_a_probe(name):
    template = TEMPLATES[name]
    pod = template["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(template):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        memory = container["resources"]["requests"]["memory"]
        assert container["resources"]["limits"]["memory"] == memory
        if container["name"] in ("ray-head", "ray-worker", "redis"):
            assert {"readinessProbe", "livenessProbe"} <= container.keys()
            # KubeRay's default probes call wget, and the image has none.
            assert "wget" not in str(container["readinessProbe"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_secret_is_written_down(name):
    assert MANIFESTS[name]["kind"] != "Secret"

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            word = re.search(r"TOKEN|PASSWORD|SECRET|KEY", str(node.get("name", "")))
            if word and ("value" in node or "valueFrom" in node):
                assert "secretKeyRef" in node["valueFrom"], node
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(MANIFESTS[name])


def dockerfile() -> dict[str, str]:
    text = (ROOT / "infra/docker/cpu.Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    (number,) = re.findall(rf"useradd --create-home --uid (\d+) {user}$", text, re.MULTILINE)
    folder = re.findall(r"^WORKDIR (\S+)$", text, re.MULTILINE)[-1]
    copied = re.findall(r"^COPY --chown=\S+ (\S+) \S+$", text, re.MULTILINE)
    return {"user": number, "folder": folder, "copied": " ".join(copied)}


@pytest.mark.parametrize(("template", "container"), of_aisle())
def test_paths_and_users_are_those_of_the_image(template, container):
    image = dockerfile()
    assert {"jobs", "deployments", "configs"} <= set(image["copied"].split())
    assert container["workingDir"] == image["folder"]
    assert template["spec"]["securityContext"]["runAsUser"] == int(image["user"])
    set_there = {each["name"]: each.get("value") for each in container.get("env", [])}
    if container["name"].startswith("ray-"):
        assert set_there["PYTHONPATH"] == image["folder"]
        mounted = [each["mountPath"] for each in container["volumeMounts"]]
        for path in (SETTINGS["AISLE_WORK"], SETTINGS["AISLE_CACHE"]):
            assert any(path.startswith(f"{mount}/") for mount in mounted)


def test_both_images_have_the_same_user_and_folder():
    cpu, gpu = (
        (ROOT / f"infra/docker/{kind}.Dockerfile").read_text(encoding="utf-8").splitlines()
        for kind in ("cpu", "gpu")
    )
    assert cpu[-6:] == gpu[-6:]
    assert [line for line in cpu if "useradd" in line] == [
        line for line in gpu if "useradd" in line
    ]
