"""An asyncio service: tasks come and go, wait for each other, and some of them fail."""

import asyncio


async def fetch(request: int, part: int) -> dict[str, object]:
    await asyncio.sleep(0)
    if (request + part) % 11 == 0:
        raise ValueError(f"request {request}")
    return {"part": part, "text": f"{request}-{part}", "scores": [request * 0.5, part * 0.25]}


async def serve(requests: asyncio.Queue[int], answers: list[object]) -> None:
    while (request := await requests.get()) >= 0:
        parts = await asyncio.gather(*(fetch(request, part) for part in range(4)), return_exceptions=True)
        answers.append([part for part in parts if not isinstance(part, Exception)])
        if len(answers) > 500:
            answers.clear()


async def main() -> None:
    requests: asyncio.Queue[int] = asyncio.Queue(maxsize=50)
    answers: list[object] = []
    servers = [asyncio.create_task(serve(requests, answers)) for _ in range(20)]
    for number in range(12_000):
        await requests.put(number)
    for _ in servers:
        await requests.put(-1)
    await asyncio.gather(*servers)


asyncio.run(main())
