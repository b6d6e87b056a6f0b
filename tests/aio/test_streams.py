"""pyrun.aio: pipes as streams, and a pod's standard descriptors made of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import pyrun
from fixtures.pods import FOREVER, created, pod_spec, running, shell
from pyrun import Fd, aio
from pyrun.pod.driver import Driver

pytestmark = pytest.mark.root


def pipe() -> tuple[Fd, Fd]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return Fd.adopt(reading), Fd.adopt(writing)


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


async def write_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1 << 16))
        await writer.drain()


async def read_lines(reader: asyncio.StreamReader) -> list[bytes]:
    return [line async for line in reader]


# ---- streams ---------------------------------------------------------------------------------------------------------


def test_a_pipe_is_read_and_written_and_closed() -> None:
    async def main() -> None:
        reading, writing = pipe()
        numbers = reading.fileno(), writing.fileno()
        async with aio.open_reader(reading) as reader, aio.open_writer(writing) as writer:
            assert reading.closed
            assert writing.closed
            writer.write(b"one\n" * 100_000)
            writer.close()
            assert len(await read_lines(reader)) == 100_000
            await writer.wait_closed()
        assert [is_open(fd) for fd in numbers] == [False, False]

    asyncio.run(main())


def test_a_stream_that_is_left_early_is_closed() -> None:
    async def main() -> None:
        reading, writing = pipe()
        number = reading.fileno()
        with writing:
            async with aio.open_reader(reading):
                pass
            assert not is_open(number)
            with pytest.raises(BrokenPipeError):
                os.write(writing.fileno(), b"x")

    asyncio.run(main())


def test_a_writer_that_nobody_reads_is_left() -> None:
    async def main() -> None:
        reading, writing = pipe()
        number = writing.fileno()
        with reading:
            async with aio.open_writer(writing) as writer:
                writer.write(bytes(1 << 20))
            assert not is_open(number)
        reading, writing = pipe()
        async with aio.open_writer(writing) as writer:
            reading.close()
            with pytest.raises(ConnectionError):
                await write_for_ever(writer)

    asyncio.run(main())


@pytest.mark.parametrize("open_stream", [aio.open_reader, aio.open_writer])
def test_a_file_cannot_be_waited_for(tmp_path: Path, open_stream) -> None:  # type: ignore[no-untyped-def]
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    async def main() -> None:
        with pytest.raises(ValueError, match="for pipes"):
            async with open_stream(fd):
                pass
        assert not is_open(fd)

    asyncio.run(main())


# ---- of pods ---------------------------------------------------------------------------------------------------------


def test_output_of_each_container_is_a_stream(tmp_path: Path) -> None:
    spec = pod_spec(shell("echo a; sleep 0.1; echo b; echo no >&2", "x"), shell("seq 50000", "y"))

    async def main() -> None:
        async with aio.PodStreams(["x", "y"]) as streams:
            with created(spec, tmp_path, stdio=streams.stdio) as it:
                it.pod.start()
                streams.let_go()
                out, err, many = await asyncio.gather(
                    *[read_lines(each) for each in (streams.stdout["x"], streams.stderr["x"], streams.stdout["y"])]
                )
                await aio.wait_pod(it.pod)
        assert (out, err) == ([b"a\n", b"b\n"], [b"no\n"])
        assert len(many) == 50_000

    asyncio.run(main())


def test_input(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.PodStreams(["cat", "other"], stdin=["cat"]) as streams:
            spec = pod_spec(shell("exec cat", "cat"), shell("exec cat", "other"))
            with running(spec, tmp_path, stdio=streams.stdio) as it:
                streams.let_go()
                streams.stdin["cat"].write(b"hello\n")
                assert await streams.stdout["cat"].readline() == b"hello\n"
                streams.stdin["cat"].close()
                assert await streams.stdout["cat"].read() == b""
                assert {status.exit.code for status in (await aio.wait_pod(it.pod)).values()} == {0}
                assert set(streams.stdin) == {"cat"}

    asyncio.run(main())


def test_a_container_that_is_made_anew_goes_on_in_the_same_stream(tmp_path: Path) -> None:
    spec = pod_spec(
        shell("echo run; [ -e /v/once ] || { : >/v/once; exit 1; }", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        restartPolicy="OnFailure",
        volumes=[{"name": "v", "emptyDir": {"medium": "Memory"}}],
    )

    async def main() -> None:
        async with aio.PodStreams(["main"]) as streams:
            with created(spec, tmp_path, stdio=streams.stdio) as it:
                driver = Driver(it.pod)
                driver.begin()
                reading = asyncio.create_task(read_lines(streams.stdout["main"]))
                await aio.drive(driver)
                assert not reading.done()
                streams.let_go()
                assert await reading == [b"run\n", b"run\n"]

    asyncio.run(main())


def test_what_nobody_reads_holds_its_writer_up_and_costs_little(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.PodStreams(["main"], limit_bytes=1000) as streams:
            with running(pod_spec(shell("exec cat /dev/zero")), tmp_path, stdio=streams.stdio) as it:
                streams.let_go()
                reader = streams.stdout["main"]
                while len(reader._buffer) < 2000:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.002)
                await asyncio.sleep(0.05)
                assert len(reader._buffer) <= 2000 + (256 << 10)  # type: ignore[attr-defined] # one read of the loop's
                with pytest.raises(ValueError, match="limit"):
                    await reader.readline()
                assert (await aio.stop_pod(it.pod, 0))["main"].exit.signal == 9

    asyncio.run(main())


def test_a_pod_that_fails_leaves_no_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.PodStreams(["main"], stdin=["main"]) as streams:
            spec = pod_spec({"name": "main", "image": "host:", "command": ["/no/such"]})
            pyrun.Pod.create(spec, directory=str(tmp_path / "pod"), stdio=streams.stdio)

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(pyrun.ExecError):
        asyncio.run(main())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_task_that_is_cancelled_closes_its_streams(tmp_path: Path) -> None:
    async def main() -> None:
        async def one() -> None:
            async with aio.PodStreams(["main"]) as streams:
                with running(pod_spec(shell(FOREVER)), tmp_path, stdio=streams.stdio):
                    streams.let_go()
                    async for _ in streams.stdout["main"]:
                        pass

        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await one()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())


def test_names_that_are_wrong() -> None:
    async def main() -> None:
        with pytest.raises(pyrun.NotFound, match="stdin for b, not among the containers a"):
            aio.PodStreams(["a"], stdin=["b"])
        async with aio.PodStreams(["a"]) as streams:
            with pytest.raises(pyrun.NotFound, match="no streams for container b"):
                streams.stdio("b")
            streams.let_go()
            streams.let_go()
            with pytest.raises(pyrun.StateError, match="PodStreams for container a is let go of"):
                streams.stdio("a")

    asyncio.run(main())


def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    pipe2 = os.pipe2

    def few(flags: int) -> tuple[int, int]:
        nonlocal made
        made += 1
        if made > 3:
            raise OSError(24, "Too many open files")
        return pipe2(flags)

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(os, "pipe2", few)
        with pytest.raises(pyrun.KernelError, match=r"pipe2\(2\).*EMFILE"):
            async with aio.PodStreams(["a", "b"]):
                pass
        monkeypatch.undo()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())
