"""Every field of the client's Function message: honoured, harmless with a reason, or refused by name when it is set.

A test holds the three tables against the protocol, so that a field of a new protocol cannot slip through unnoticed.
"""

from __future__ import annotations

from ionian import wire
from ionian.errors import Unimplemented
from ionian.wire import api_pb2

HONOURED = frozenset(
    {
        "module_name",
        "function_name",
        "implementation_name",
        "app_name",
        "mount_ids",
        "image_id",
        "secret_ids",
        "function_serialized",
        "class_serialized",
        "definition_type",
        "function_type",
        "resources",  # its parts: see RESOURCES
        "webhook_config",  # its parts: see WEB
        "retry_policy",
        "max_inputs",
        "single_use_containers",
        "batch_max_size",
        "batch_linger_ms",
        "concurrency_limit",
        "timeout_secs",
        "startup_timeout_secs",
        "task_idle_timeout_secs",
        "warm_pool_size",
        "max_concurrent_inputs",
        "target_concurrent_inputs",
        "_experimental_buffer_containers",
        "autoscaler_settings",
        "is_class",
        "is_method",
        "class_parameter_info",
        "method_definitions",
        "method_definitions_set",
        "function_schema",
        "supported_input_formats",
        "supported_output_formats",
        "schedule",  # see ``schedules``
        "object_dependencies",
        "pty_info",  # a terminal, one container, no retries: see ``interactive``
    }
)

HARMLESS = {
    "web_url": "an answer of the server",
    "web_url_info": "an answer of the server",
    "flash_service_urls": "an answer of the server",
    "flash_service_label": "an answer of the server",
    "cloud_provider": "there is one machine",
    "cloud_provider_str": "there is one machine",
    "scheduler_placement": "regions and preemption: there is one machine, and it does not preempt",
    "routing_region": "there is one machine",
    "worker_id": "picks a machine for debugging: there is one",
    "runtime": "picks the hosted service's sandbox implementation",
    "runtime_debug": "debugging of that implementation",
    "runtime_perf_record": "profiling of that implementation",
    "snapshot_debug": "debugging of snapshots",
    "checkpointing_enabled": "memory snapshots only make starts faster",
    "checkpoint": "memory snapshots only make starts faster",
    "is_checkpointing_function": "memory snapshots only make starts faster",
    "_experimental_enable_gpu_snapshot": "memory snapshots only make starts faster",
    "enable_gpu_snapshot": "memory snapshots only make starts faster",
    "_experimental_concurrent_cancellations": "how the client's own runner cancels; ours always does so",
    "_experimental_task_templates_enabled": "a hint for faster starts",
    "_experimental_task_templates": "a hint for faster starts",
    "_experimental_custom_scaling": "a hint for the hosted autoscaler",
    "mount_client_dependencies": "the server provides the client's package and its dependencies anyhow",
    "is_auto_snapshot": "memory snapshots only make starts faster",
}

REFUSED = {
    "rate_limit": "rate limits",
    "shared_volume_mounts": "network file systems",
    "volume_mounts": "volumes",
    "s3_mounts": "cloud bucket mounts",
    "cloud_bucket_mounts": "cloud bucket mounts",
    "proxy_id": "proxies",
    "custom_domain_info": "custom domains",
    "is_builder_function": "Image.run_function",
    "block_network": "block_network",
    "network_access": "network rules",
    "untrusted": "restrict_modal_access",
    "i6pn_enabled": "i6pn networking",
    "_experimental_group_size": "@modal.clustered",
    "_experimental_fabric_size": "@modal.clustered",
    "experimental_options": "experimental_options",
    "http_config": "@app.server",
    "is_server": "@app.server",
    "is_sessioned": "@modal.sessioned",
}

RESOURCES_HONOURED = frozenset({"memory_mb", "memory_mb_max", "milli_cpu", "milli_cpu_max"})
RESOURCES_HARMLESS = {
    "ephemeral_disk_mb": "containers use the machine's own disk",
    "skip_num_threads_env_vars": "thread counts are left to the user's libraries",
}
RESOURCES_REFUSED = {"gpu_config": "gpu", "rdma": "rdma"}

WEB_HONOURED = frozenset({"type", "method", "requested_suffix", "web_endpoint_docs", "ephemeral_suffix"})
WEB_HARMLESS = {"async_mode": "a request waits for its answer; there is no time limit that would need a redirect"}
WEB_REFUSED = {
    "custom_domains": "custom domains",
    "web_server_port": "@modal.web_server",
    "web_server_startup_timeout": "@modal.web_server",
    "requires_proxy_auth": "requires_proxy_auth",
}


def check(function: api_pb2.Function) -> list[str]:
    """Refuse, naming it, what would otherwise be ignored. Returns warnings for the user. Raises Unimplemented."""
    name = function.function_name
    _refuse(name, function, REFUSED)
    _refuse(name, function.resources, RESOURCES_REFUSED)
    _check_web(name, function.webhook_config)
    for method, definition in function.method_definitions.items():
        _check_web(f"{name.removesuffix('*')}{method}", definition.webhook_config)
        required = [p.name for p in function.class_parameter_info.schema if not p.has_default]
        if definition.webhook_config.type and required:
            raise Unimplemented(
                f"{name}: web endpoints of a class whose parameters ({', '.join(required)}) have no default are not "
                "built in this server yet; give them defaults"
            )
    warnings = []
    unknown = wire.unknown_fields(function)
    if unknown:
        numbers = ", ".join(map(str, unknown))
        warnings.append(
            f"{name}: this client is newer than the server; unknown settings were ignored (fields {numbers})"
        )
    return warnings


def _refuse(name: str, message: wire.Message, refused: dict[str, str]) -> None:
    for field in wire.given_fields(message):
        if field in refused:
            raise Unimplemented(f"{name}: {refused[field]} is not built in this server yet; remove it to deploy here")


def _check_web(name: str, config: api_pb2.WebhookConfig) -> None:
    if config.type == api_pb2.WEBHOOK_TYPE_WEB_SERVER:
        raise Unimplemented(f"{name}: @modal.web_server is not built in this server yet; use @modal.asgi_app")
    _refuse(name, config, WEB_REFUSED)
