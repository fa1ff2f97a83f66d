"""Programs in processes of their own, forked from one that has imported PyTorch, which is most of a short one's time.
They find the checkout as `pack`. Tests of torchrun, of what an import does and of memory start Python itself.
"""

import multiprocessing
import os
import resource
import runpy
import sys
import types
from pathlib import Path
from typing import NamedTuple

PRELOADED = ["torch", "torch._dynamo", "PIL.PngImagePlugin", "ftfy"]  # nothing that reads the environment of a test
COMMAND = "from pack.vqdiffusion_core.cli import main\nsys.exit(main(arguments))"


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Program:
    """`code`, which finds its `arguments` as strings, on its way. `limit`: bytes after which every write to a file
    fails, as on a full disk; `answer`: what it reads on stdin.
    """

    def __init__(self, code, *arguments, limit=None, answer="", **environment):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        (stdin, answers), (prints, stdout), (errors, stderr) = (context.Pipe(duplex=False) for _ in range(3))
        begun = {
            "streams": (stdin, stdout, stderr),
            "environment": os.environ | environment,
            "limit": limit,
            "code": code,
            "arguments": [str(argument) for argument in arguments],
        }
        self.process = context.Process(target=runpy.run_path, args=(__file__, begun, "forked"))
        self.process.start()
        os.write(answers.fileno(), answer.encode())
        for end in (answers, stdin, stdout, stderr):
            end.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno())) for end in (prints, errors))

    def kill(self):
        self.process.kill()
        return self.ended()

    def ended(self):
        """Waits for its end. What it says is little: it never fills a pipe that is not read yet."""
        with self.stdout, self.stderr:
            said = self.stdout.read(), self.stderr.read()
        self.process.join()
        return Ended(self.process.exitcode, *said)


def command(*arguments, **settings):
    """The vqdiffusion command."""
    return Program(COMMAND, *arguments, **settings).ended()


def run(streams, environment, limit, code, arguments):
    """In the new process."""
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))
    sys.dont_write_bytecode = True
    sys.modules["pack"] = types.ModuleType("pack")
    sys.modules["pack"].__path__ = [str(Path(__file__).parents[2])]
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    exec(code, {"sys": sys, "arguments": arguments})  # noqa: S102, it is the test's own


if __name__ == "forked":
    given = globals()  # by runpy
    run(*(given[name] for name in ("streams", "environment", "limit", "code", "arguments")))
