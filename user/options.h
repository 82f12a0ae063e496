/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of options. From each line come: the field of struct config, the
 * flag --NAME, the environment variable, the YAML key (the flag's name, dots are
 * nesting), the default, whether SIGHUP may change it, --help, the manual page and
 * docs/configuration.md.
 *
 * X(field, TYPE, "flag", "ENVIRONMENT" or NULL, "default", reload, "placeholder or allowed words", "help")
 * TYPE: BOOL INT SIZE (bytes; 4MiB, 64k) DURATION (ns; 5s, 15m, 100ms; a bare number is
 * milliseconds where the OpenTelemetry specification says so: DURATION_MS) DOUBLE
 * STR LIST (comma separated or repeated) DOUBLES KV (k=v,k=v as OTEL_*_HEADERS) ENUM (words
 * in the placeholder, separated by '|', give the value's index) WORDS (the same, one or more, separated
 * by commas: bit N for the word N; "auto" and "none" stand alone).
 */
#pragma once

#define SONDE_OPTIONS(X) \
	X(config_file, STR, "config.file", "SONDE_CONFIG_FILE", "", NO, "FILE", \
	  "Configuration file (YAML). Without it /etc/sonde/sonde.yaml is read when it exists.") \
	X(scope, LIST, "scope", "SONDE_SCOPE", "", NO, "cgroup:PATH|pid:PID", \
	  "Observe only this cgroup, or this process and its descendants. Repeatable. Default: the whole machine.") \
	X(allow_overlap, BOOL, "allow-overlap", "SONDE_ALLOW_OVERLAP", "false", NO, "", \
	  "Start although another sonde observes some of the same programs; both report their calls.") \
	X(print, ENUM, "print", "SONDE_PRINT", "none", NO, "none|text|json", \
	  "Print one line per call as it ends, to standard output.") \
	X(web_listen, LIST, "web.listen-address", "SONDE_WEB_LISTEN_ADDRESS", "127.0.0.1:9960", NO, "ADDRESS:PORT", \
	  "Where /metrics is served. Repeatable; 'none' serves nothing.") \
	X(web_path, STR, "web.telemetry-path", "SONDE_WEB_TELEMETRY_PATH", "/metrics", NO, "PATH", \
	  "Path of the metrics.") \
	X(web_max_requests, INT, "web.max-requests", NULL, "8", NO, "N", \
	  "Scrapes served at the same time; more get 503.") \
	X(ring_size, SIZE, "capture.ring-size", "SONDE_RING_SIZE", "4MiB", NO, "BYTES", \
	  "Ring buffer between kernel and daemon; a power of two.") \
	X(max_connections, INT, "capture.max-connections", NULL, "100000", NO, "N", \
	  "Connections followed at the same time; more are counted as lost.") \
	X(decode_memory, SIZE, "capture.decode-memory", NULL, "8MiB", NO, "BYTES", \
	  "Memory for messages under way, all connections together (about 500 bytes for one that is followed); a message without room is lost and counted.") \
	X(max_processes, INT, "capture.max-processes", NULL, "32768", NO, "N", \
	  "Processes remembered at the same time.") \
	X(exclude_self_paths, LIST, "metrics.exclude-paths", NULL, "", YES, "GLOB", \
	  "Leave calls to these paths out of metrics and spans (health checks, scrapes).") \
	X(buckets, DOUBLES, "metrics.duration-buckets", NULL, \
	  "0.00005,0.0001,0.00025,0.0005,0.001,0.0025,0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10", NO, "SECONDS", \
	  "Upper bounds of the duration histograms.") \
	X(size_buckets, DOUBLES, "metrics.size-buckets", NULL, "0,128,1024,8192,65536,1048576,16777216", NO, "BYTES", \
	  "Upper bounds of the body size histograms.") \
	X(max_series, INT, "metrics.max-series", NULL, "10000", NO, "N", \
	  "Label sets over all metrics; what goes over lands in one overflow series per service.") \
	X(series_ttl, DURATION, "metrics.series-ttl", NULL, "15m", YES, "DURATION", \
	  "A series that was not touched for this long is no longer exposed.") \
	X(route_limit, INT, "metrics.routes-per-service", NULL, "100", YES, "N", \
	  "Routes learned per service; more become the overflow series.") \
	X(server_address_label, BOOL, "metrics.server-address-on-server", NULL, "false", NO, "", \
	  "Put server_address and server_port (the caller's Host header) on server metrics too.") \
	X(command_args, BOOL, "resource.command-args", NULL, "false", NO, "", \
	  "Add process.command_args to resources. Arguments may hold secrets.") \
	X(traces_exporter, WORDS, "traces.exporter", "OTEL_TRACES_EXPORTER", "auto", NO, "auto|otlp|none|console", \
	  "Where spans go. auto: OTLP when an endpoint is set, else none. console: one line per span on standard output.") \
	X(metrics_exporter, WORDS, "metrics.exporter", "OTEL_METRICS_EXPORTER", "auto", NO, "auto|otlp|none|console|prometheus", \
	  "Where metrics go besides /metrics (prometheus: nowhere else). auto: OTLP when an endpoint is set, else none. console: to standard output, at otlp.metrics.interval.") \
	X(otlp_endpoint, STR, "otlp.endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "", NO, "URL", \
	  "OTLP endpoint of all signals.") \
	X(otlp_traces_endpoint, STR, "otlp.traces.endpoint", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", NO, "URL", \
	  "OTLP endpoint of traces, used as it is.") \
	X(otlp_metrics_endpoint, STR, "otlp.metrics.endpoint", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "", NO, "URL", \
	  "OTLP endpoint of metrics, used as it is.") \
	X(otlp_protocol, ENUM, "otlp.protocol", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", NO, "http/protobuf|grpc", \
	  "OTLP transport of all signals.") \
	X(otlp_traces_protocol, ENUM, "otlp.traces.protocol", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "inherit", NO, "http/protobuf|grpc|inherit", \
	  "OTLP transport of traces.") \
	X(otlp_metrics_protocol, ENUM, "otlp.metrics.protocol", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "inherit", NO, "http/protobuf|grpc|inherit", \
	  "OTLP transport of metrics.") \
	X(otlp_headers, KV, "otlp.headers", "OTEL_EXPORTER_OTLP_HEADERS", "", NO, "K=V,...", \
	  "Headers sent with every OTLP request.") \
	X(otlp_traces_headers, KV, "otlp.traces.headers", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "", NO, "K=V,...", \
	  "Headers of trace requests, instead of the general ones.") \
	X(otlp_metrics_headers, KV, "otlp.metrics.headers", "OTEL_EXPORTER_OTLP_METRICS_HEADERS", "", NO, "K=V,...", \
	  "Headers of metric requests, instead of the general ones.") \
	X(otlp_compression, ENUM, "otlp.compression", "OTEL_EXPORTER_OTLP_COMPRESSION", "none", NO, "none|gzip", \
	  "Compression of OTLP requests.") \
	X(otlp_traces_compression, ENUM, "otlp.traces.compression", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "inherit", NO, "none|gzip|inherit", \
	  "Compression of trace requests.") \
	X(otlp_metrics_compression, ENUM, "otlp.metrics.compression", "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "inherit", NO, "none|gzip|inherit", \
	  "Compression of metric requests.") \
	X(otlp_timeout, DURATION_MS, "otlp.timeout", "OTEL_EXPORTER_OTLP_TIMEOUT", "10s", NO, "DURATION", \
	  "Time-out of one OTLP request.") \
	X(otlp_traces_timeout, DURATION_MS, "otlp.traces.timeout", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0s", NO, "DURATION", \
	  "Time-out of one trace request; 0: the general one.") \
	X(otlp_metrics_timeout, DURATION_MS, "otlp.metrics.timeout", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0s", NO, "DURATION", \
	  "Time-out of one metric request; 0: the general one.") \
	X(otlp_certificate, STR, "otlp.certificate", "OTEL_EXPORTER_OTLP_CERTIFICATE", "", NO, "FILE", \
	  "CA certificates (PEM) to verify the OTLP server with.") \
	X(otlp_traces_certificate, STR, "otlp.traces.certificate", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "", NO, "FILE", \
	  "The same for traces only.") \
	X(otlp_metrics_certificate, STR, "otlp.metrics.certificate", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "", NO, "FILE", \
	  "The same for metrics only.") \
	X(otlp_client_key, STR, "otlp.client-key", "OTEL_EXPORTER_OTLP_CLIENT_KEY", "", NO, "FILE", \
	  "Client key (PEM) for mutual TLS, all signals.") \
	X(otlp_client_certificate, STR, "otlp.client-certificate", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "", NO, "FILE", \
	  "Client certificate (PEM) for mutual TLS, all signals.") \
	X(temporality, ENUM, "otlp.metrics.temporality", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", NO, "cumulative|delta|lowmemory", \
	  "Aggregation temporality of OTLP metrics.") \
	X(metric_interval, DURATION_MS, "otlp.metrics.interval", "OTEL_METRIC_EXPORT_INTERVAL", "60s", NO, "DURATION", \
	  "Time between two OTLP metric exports.") \
	X(metric_timeout, DURATION_MS, "otlp.metrics.export-timeout", "OTEL_METRIC_EXPORT_TIMEOUT", "30s", NO, "DURATION", \
	  "Time-out of one metric export, retries included.") \
	X(bsp_delay, DURATION_MS, "traces.batch.delay", "OTEL_BSP_SCHEDULE_DELAY", "5s", NO, "DURATION", \
	  "Longest time a finished span waits for its batch.") \
	X(bsp_timeout, DURATION_MS, "traces.batch.export-timeout", "OTEL_BSP_EXPORT_TIMEOUT", "30s", NO, "DURATION", \
	  "Time-out of one batch, retries included.") \
	X(bsp_queue, INT, "traces.batch.queue-size", "OTEL_BSP_MAX_QUEUE_SIZE", "4096", NO, "N", \
	  "Spans held for the exporter; more are dropped and counted.") \
	X(bsp_batch, INT, "traces.batch.size", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", NO, "N", \
	  "Spans in one batch at most.") \
	X(sampler, ENUM, "traces.sampler", "OTEL_TRACES_SAMPLER", "parentbased_always_on", YES, \
	  "always_on|always_off|traceidratio|parentbased_always_on|parentbased_always_off|parentbased_traceidratio", \
	  "Which calls become spans. Metrics are never sampled.") \
	X(sampler_arg, DOUBLE, "traces.sampler-arg", "OTEL_TRACES_SAMPLER_ARG", "1", YES, "RATIO", \
	  "Ratio of traceidratio, 0 to 1.") \
	X(resource_attributes, KV, "resource.attributes", "OTEL_RESOURCE_ATTRIBUTES", "", NO, "K=V,...", \
	  "Attributes added to sonde's own resource and, as far as they describe the host (host.*, cloud.*, deployment.*, k8s.node.name, k8s.cluster.name), to every service's.") \
	X(self_name, STR, "self.service-name", "OTEL_SERVICE_NAME", "sonde", NO, "NAME", \
	  "service.name of sonde's own telemetry; names nothing else.") \
	X(sdk_disabled, BOOL, "otlp.disabled", "OTEL_SDK_DISABLED", "false", NO, "", \
	  "No OTLP at all.") \
	X(log_level, ENUM, "log.level", "SONDE_LOG_LEVEL", "info", YES, "error|warn|info|debug", "What is logged.") \
	X(log_format, ENUM, "log.format", "SONDE_LOG_FORMAT", "logfmt", YES, "logfmt|json", "How it is logged.")
