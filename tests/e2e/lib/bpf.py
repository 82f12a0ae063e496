# SPDX-License-Identifier: Apache-2.0
"""What BPF objects the kernel has, asked by the system call itself."""
import ctypes
import os
import platform
import re
import struct

_NR = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
_NEXT = {"prog": 11, "map": 12, "link": 31}  # enum bpf_cmd: BPF_{PROG,MAP,LINK}_GET_NEXT_ID
_libc = ctypes.CDLL(None, use_errno=True)


def ids(kind):
    """Of all programs, maps or links on this machine."""
    ret, last = set(), 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("=III", last, 0, 0), 12)
        if _libc.syscall(_NR, _NEXT[kind], attr, 12):
            if ctypes.get_errno() == 2:  # ENOENT: no more
                return ret
            raise OSError(ctypes.get_errno(), "bpf(%s ids)" % kind)
        last = struct.unpack("=III", attr.raw)[1]
        ret.add(last)


def of_process(pid):
    """{kind: ids} of what a process holds by file descriptors."""
    ret = {k: set() for k in _NEXT}
    folder = "/proc/%d/fdinfo" % pid
    for name in os.listdir(folder):
        try:
            with open(os.path.join(folder, name)) as f:
                text = f.read()
        except OSError:
            continue
        for kind in _NEXT:
            ret[kind].update(int(x) for x in re.findall(r"^%s_id:\s*(\d+)" % kind, text, re.M))
    return ret
