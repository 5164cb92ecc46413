"""Servers that are not to be trusted, each in a process of its own: ``faulty_server.py FAULTS``.

FAULTS are separated by commas: kill (itself, in mid-call), kill_later (in the second call), hang,
slow, nan, shape, format, bytes, or one of `LIES`, of which 3e38 is said in the last round alone.
Each server says its fault and its process id first, and a slow one when it computes.
"""

import json
import os
import signal
import sys
import time
from functools import partial

import torch

from paperlib.pedsam.remote import pedsam_pb2 as pb
from paperlib.pedsam.remote.lying import LIES, LyingService
from paperlib.pedsam.remote.server import main
from paperlib.pedsam.remote.service import WindowService


class FaultyService(WindowService):
    """Answers as a real server does, but for one thing."""

    def __init__(self, worker, limits, fault):
        super().__init__(worker, limits)
        self.fault, self.calls = fault, 0

    def run(self, values, windows, blocks, pixels):
        self.calls += 1
        if self.fault == "kill" or (self.fault == "kill_later" and self.calls == 2):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "slow":
            print("computing", flush=True)
        time.sleep({"hang": 1000, "slow": 2}.get(self.fault, 0))
        out = super().run(values, windows, blocks, pixels)
        return out[:, :-1] if self.fault == "shape" else out

    def compute(self, data, context):
        answer = super().compute(data, context)
        reply = pb.ComputeReply.FromString(answer)
        if self.fault == "nan":
            values = torch.frombuffer(bytearray(reply.values.values), dtype=torch.float32)
            values[7] = float("nan")
            reply.values.values = values.numpy().tobytes()
        if self.fault == "format":
            reply.values.format = pb.FORMAT_FLOAT16
        return b"\xff\xff\xff" if self.fault == "bytes" else reply.SerializeToString()


if __name__ == "__main__":
    for fault in sys.argv[1].split(","):
        if os.fork() == 0:
            line = json.dumps({"fault": fault, "pid": os.getpid()})
            sys.stdout.write(f"{line}\n")  # whole: all of them write to the same pipe
            sys.stdout.flush()
            service = partial(FaultyService, fault=fault)
            if fault in LIES:
                service = partial(LyingService, lie=LIES[fault])
            if fault == "3e38":
                service = partial(service, blocks=[3, 4])
            os._exit(main(sys.argv[2:], service))
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
