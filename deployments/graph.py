"""The Serve application, built from one configuration: the only place that wraps, configures and binds deployments.

`serve run deployments.graph:build config=configs/local.yaml` or a Serve config file with `args: {config: ...}`.
"""

# NOTE: no `from __future__ import annotations` here: Serve reads build's annotation to make the typed arguments, and
# does not resolve strings.
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from aisle.config import ScalingConfig, Settings, load
from aisle.scaling import Goal
from deployments.admission import admitting
from deployments.coordinator import GATEWAY, Coordinator
from deployments.gateway import Gateway, app
from deployments.live import Live
from deployments.ranker import RankerStage
from deployments.rewriter import RewriterStage
from deployments.shard import ShardGroup

_SPARE = 64
"""Requests beyond a gateway's limits that still reach it, to be told so."""


class BuildArgs(BaseModel):
    """What `build` takes."""

    model_config = ConfigDict(extra="forbid")

    config: str
    """An environment's file."""
    overrides: tuple[str, ...] = ()
    """`section.key=value` each."""


def build(args: BuildArgs) -> Application:
    """Reads the configuration once and wires the graph; the topology is a switch in it."""
    return graph(load(args.config, args.overrides))


def graph(settings: Settings, live: type[Live] = Live) -> Application:
    """Wires the graph of one environment; `live` is what the gateways answer with."""
    serving, scaling = settings.serving, settings.serving.scaling
    rewriter = None
    if settings.rewriter.mode != "off":
        rewriter = _deployment(
            RewriterStage,
            "Rewriter",
            max_ongoing_requests=settings.rewriter.max_concurrent,
            max_queued_requests=settings.rewriter.max_concurrent,
            health_check_period_s=5,
        ).bind(settings)
    shards: list[Any] = []
    ranker = None
    if serving.topology == "split":
        groups = min(serving.shard_groups, settings.index.shards)
        settings = settings.model_copy(
            update={"serving": serving.model_copy(update={"shard_groups": groups})}
        )
        shards = [
            _deployment(
                ShardGroup,
                f"Shards{group}",
                **replicas(scaling, serving.shard_replicas, scaling.max_shard_replicas),
            ).bind(settings, group)
            for group in range(groups)
        ]
        ranker = _deployment(
            RankerStage,
            "Ranker",
            **replicas(scaling, serving.ranker_replicas, scaling.max_ranker_replicas),
        ).bind(settings)
    gateway = _deployment(
        serve.ingress(admitting(app, settings.admission, serving.gateway_replicas))(Gateway),
        GATEWAY,
        **replicas(scaling, serving.gateway_replicas, scaling.max_gateway_replicas),
        # The gateway itself refuses beyond these two, with words and by how long the queue is; Serve's own limit, whose
        # refusal says nothing but its status, stands behind it.
        max_ongoing_requests=serving.max_ongoing_requests + serving.max_queued_requests + _SPARE,
        max_queued_requests=_SPARE,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
    )
    coordinator = _deployment(Coordinator, "Coordinator").bind(settings, shards, ranker, rewriter)
    bound: Application = gateway.bind(settings, rewriter, shards, ranker, coordinator, live)
    return bound


def replicas(scaling: ScalingConfig, least: int, most: int | None) -> dict[str, Any]:
    """A deployment's options for `least` replicas, or for as many up to `most` as `aisle.scaling` decides.

    Serve's own delays are zero and its factors one: the policy waits itself, longer for less than for more.
    """
    if most is None:
        return {"num_replicas": least}
    goal = {key: getattr(scaling, key) for key in Goal.__dataclass_fields__}
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "initial_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": scaling.ongoing_per_replica,
            "look_back_period_s": scaling.look_back_s,
            "upscale_delay_s": 0.0,
            "downscale_delay_s": 0.0,
            "aggregation_function": "mean",
            "policy": {"policy_function": "aisle.scaling:OnDemand", "policy_kwargs": goal},
        }
    }


def _deployment(cls: type, name: str, **options: Any) -> Any:
    """A deployment with this project's defaults: a small share of a CPU each, since cores are shared on purpose."""
    defaults = {
        "name": name,
        "max_ongoing_requests": 64,
        "max_queued_requests": 256,
        "ray_actor_options": {"num_cpus": 0.1},
        "graceful_shutdown_timeout_s": 10,
        "graceful_shutdown_wait_loop_s": 0.5,
    }
    return serve.deployment(**{**defaults, **options})(cls)
