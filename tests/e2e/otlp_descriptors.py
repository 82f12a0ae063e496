#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks exporters/wire/otlp.proto against the published OTLP descriptors (PyPI opentelemetry-proto).

Every message, field, enum and oneof of ours must exist there with the same number, type and label; and
the requests that tests/unit/test_otlp_encode writes must parse without an unknown field and hold
what was encoded. Needs protoc-c and, unless the modules are there already, pip and the network.

    tests/e2e/otlp_descriptors.py [--build DIR]     default: build

Exit: 0 equal, 1 different, 77 the official descriptors cannot be had.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["opentelemetry-proto==1.45.2", "googleapis-common-protos==1.76.0"]


def with_modules(build):
    """Runs this script again in a virtual environment that has the official modules."""
    try:
        import opentelemetry.proto.collector.trace.v1.trace_service_pb2  # noqa: F401
        import google.rpc.error_details_pb2  # noqa: F401
        return
    except ImportError:
        pass
    venv = build / "cache" / "otlp-venv"
    python = venv / "bin" / "python"
    if os.environ.get("OTLP_VENV"):
        sys.exit("otlp_descriptors: the modules were installed and cannot be imported")
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
    except (subprocess.CalledProcessError, OSError) as e:
        print(f"otlp_descriptors: the official descriptors cannot be installed: {e}", file=sys.stderr)
        sys.exit(77)
    os.environ["OTLP_VENV"] = str(venv)
    os.execv(python, [str(python), *sys.argv])


def official():
    """Our message and enum names → their descriptors."""
    from google.protobuf import any_pb2, duration_pb2
    from google.rpc import error_details_pb2, status_pb2
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    from opentelemetry.proto.common.v1 import common_pb2
    from opentelemetry.proto.metrics.v1 import metrics_pb2
    from opentelemetry.proto.resource.v1 import resource_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2
    messages, enums = {}, {}
    for m in (trace_service_pb2, metrics_service_pb2, common_pb2, metrics_pb2, resource_pb2, trace_pb2):
        messages.update(m.DESCRIPTOR.message_types_by_name)
        enums.update(m.DESCRIPTOR.enum_types_by_name)
    messages["Any"] = any_pb2.Any.DESCRIPTOR
    messages["Duration"] = duration_pb2.Duration.DESCRIPTOR
    messages["RetryInfo"] = error_details_pb2.RetryInfo.DESCRIPTOR
    messages["RpcStatus"] = status_pb2.Status.DESCRIPTOR
    return messages, enums


class Compare:
    def __init__(self):
        self.bad = []
        self.fields = 0

    def enum(self, ours, theirs):
        names = {v.name: v.number for v in theirs.value}
        for v in ours.value:
            if names.get(v.name) != v.number:
                self.bad.append(f"enum {ours.name}: {v.name} = {v.number}, theirs is {names.get(v.name)}")

    def oneof(self, ours, field, theirs, their_field):
        """A oneof of one of ours stands for `optional`, or is a part of theirs."""
        in_ours = ours.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        in_theirs = theirs.oneof_decl[their_field.oneof_index].name if their_field.HasField("oneof_index") else None
        if (in_ours is None) != (in_theirs is None):
            return False
        return in_ours is None or their_field.proto3_optional or in_ours == in_theirs

    def message(self, ours, theirs):
        by_name = {f.name: f for f in theirs.field}
        for f in ours.field:
            self.fields += 1
            t = by_name.get(f.name)
            where = f"{ours.name}.{f.name}"
            if t is None:
                self.bad.append(f"{where}: not in {theirs.name}")
                continue
            if (f.number, f.type, f.label) != (t.number, t.type, t.label):
                self.bad.append(f"{where}: number, type, label {f.number, f.type, f.label}, theirs "
                                f"{t.number, t.type, t.label}")
            last = (f.type_name.rsplit(".", 1)[-1], t.type_name.rsplit(".", 1)[-1])
            if last[0] != last[1]:
                self.bad.append(f"{where}: of type {last[0]}, theirs {last[1]}")
            if not self.oneof(ours, f, theirs, t):
                self.bad.append(f"{where}: stands in another oneof than theirs")
        nested = {e.name: e for e in theirs.enum_type}
        for e in ours.enum_type:
            if e.name in nested:
                self.enum(e, nested[e.name])
            else:
                self.bad.append(f"{ours.name}: enum {e.name} is not theirs")


def our_file(tmp):
    from google.protobuf import descriptor_pb2
    out = tmp / "otlp.ds"
    subprocess.run(["protoc-c", "--proto_path=.", f"--descriptor_set_out={out}", "exporters/wire/otlp.proto"],
                   cwd=ROOT, check=True)
    return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


def compare_descriptors(tmp):
    from google.protobuf import descriptor_pb2
    messages, enums = official()
    ours, c = our_file(tmp), Compare()
    for m in ours.message_type:
        if m.name not in messages:
            c.bad.append(f"message {m.name} is not theirs")
            continue
        theirs = descriptor_pb2.DescriptorProto()
        messages[m.name].CopyToProto(theirs)
        c.message(m, theirs)
    for e in ours.enum_type:
        theirs = descriptor_pb2.EnumDescriptorProto()
        enums[e.name].CopyToProto(theirs)
        c.enum(e, theirs)
    print(f"descriptors: {len(ours.message_type)} messages, {c.fields} fields compared, {len(c.bad)} differ")
    return c.bad


def unknown_fields(message, where="request"):
    from google.protobuf import unknown_fields as uf
    bad = [f"{where}: unknown field {f.field_number}" for f in uf.UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for i, item in enumerate(value if field.is_repeated else [value]):
            bad += unknown_fields(item, f"{where}.{field.name}[{i}]")
    return bad


def attributes(a):
    return {kv.key: getattr(kv.value, kv.value.WhichOneof("value")) for kv in a}


def expect(bad, what, got, want):
    if got != want:
        bad.append(f"{what}: {got!r}, expected {want!r}")


def check_traces(data):
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    r = trace_service_pb2.ExportTraceServiceRequest.FromString(data)
    bad = unknown_fields(r)
    s = r.resource_spans[0].scope_spans[0].spans[0]
    expect(bad, "span", (s.name, s.kind, s.flags, s.status.code), ("GET /x", 2, 0x301, 2))
    expect(bad, "ids", (s.trace_id, s.span_id, s.parent_span_id), (b"\xaa" * 16, b"\x01" * 8, bytes(range(1, 9))))
    expect(bad, "duration", s.end_time_unix_nano - s.start_time_unix_nano, 500)
    a = attributes(s.attributes)
    expect(bad, "test.number", a.get("test.number"), -5)
    expect(bad, "test.text", a.get("test.text"), "a\ufffd\ufffdz")
    expect(bad, "sonde.request.wait", a.get("sonde.request.wait"), 0.00025)
    expect(bad, "service", attributes(r.resource_spans[0].resource.attributes).get("service.name"), "alpha")
    return bad


def check_metrics(data):
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
    r = metrics_service_pb2.ExportMetricsServiceRequest.FromString(data)
    bad = unknown_fields(r)
    metrics = {(attributes(rm.resource.attributes)["service.name"], m.name): m
               for rm in r.resource_metrics for m in rm.scope_metrics[0].metrics}
    m = metrics["alpha", "test.requests"]
    expect(bad, "sum", ([p.as_double for p in m.sum.data_points], m.sum.is_monotonic, m.sum.aggregation_temporality),
           ([10.0, 3.0], True, 2))
    expect(bad, "gauge", metrics["beta", "test.fill"].gauge.data_points[0].as_double, 0.5)
    h = metrics["alpha", "test.duration"].histogram.data_points[0]
    expect(bad, "histogram", (list(h.bucket_counts), list(h.explicit_bounds), h.count, h.sum),
           ([1, 2, 3], [0.1, 1.0], 6, 7.5))
    return bad


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--build", type=Path, default=ROOT / "build")
    build = ap.parse_args().build.resolve()
    with_modules(build)
    with tempfile.TemporaryDirectory() as tmp:
        bad = compare_descriptors(Path(tmp))
        subprocess.run([build / "tests" / "test_otlp_encode"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env={**os.environ, "OTLP_SAMPLES": tmp})
        for name, check in (("traces", check_traces), ("metrics", check_metrics)):
            data = (Path(tmp) / f"{name}.bin").read_bytes()
            found = check(data)
            print(f"{name}: {len(data)} bytes of ours parsed by the official classes, {len(found)} differences")
            bad += found
    for line in bad:
        print("DIFFERENT", line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
