import asyncio

from processor.bridge.pipe import CallerPipe


async def taken(pipe: CallerPipe) -> bytes:
    return b"".join([piece async for piece in pipe.pieces()])


async def test_pieces_come_in_order_until_the_end() -> None:
    pipe = CallerPipe(patience=30)
    taking = asyncio.create_task(taken(pipe))
    for piece in (b"a", b"b", b"c"):
        await pipe.put(piece)
        await asyncio.sleep(0)
    pipe.end(whole=True)
    assert await taking == b"abc"
    assert pipe.whole


async def test_a_full_pipe_waits_for_the_caller() -> None:
    pipe = CallerPipe(patience=30, max_bytes=4)
    await pipe.put(b"1234")
    putting = asyncio.create_task(pipe.put(b"5"))
    await asyncio.sleep(0)
    assert not putting.done()
    taking = asyncio.create_task(taken(pipe))
    await putting
    pipe.end(whole=True)
    assert await taking == b"12345"


async def test_a_caller_that_takes_nothing_is_given_up() -> None:
    pipe = CallerPipe(patience=0.01, max_bytes=4)
    await pipe.put(b"12345")
    assert pipe.gone
    await pipe.put(b"67890")
    assert await taken(pipe) == b""
    assert not pipe.whole


async def test_a_caller_that_leaves_frees_who_waits() -> None:
    pipe = CallerPipe(patience=30, max_bytes=4)
    putting = asyncio.create_task(pipe.put(b"12345"))
    await asyncio.sleep(0)
    pipe.leave()
    await putting


async def test_the_first_end_counts() -> None:
    pipe = CallerPipe(patience=30)
    pipe.end(whole=False)
    pipe.end(whole=True)
    assert not pipe.whole
