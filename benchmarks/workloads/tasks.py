"""An asyncio service: clients send requests over streams, a server answers them, tasks come and go."""

import asyncio
import json
import socket

CLIENTS = 20
REQUESTS = 900


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        request = json.loads(line)
        parts = await asyncio.gather(*(fetch(request["id"], part) for part in range(4)))
        writer.write(json.dumps({"id": request["id"], "parts": parts}).encode() + b"\n")
        await writer.drain()
    writer.close()


async def fetch(request: int, part: int) -> dict[str, object]:
    await asyncio.sleep(0)
    return {"part": part, "text": f"{request}-{part}", "scores": [request * 0.5, part * 0.25]}


async def ask(client: int) -> int:
    ours, theirs = socket.socketpair()
    server = asyncio.create_task(serve(*await asyncio.open_connection(sock=theirs)))
    reader, writer = await asyncio.open_connection(sock=ours)
    answers = []
    for number in range(REQUESTS):
        writer.write(json.dumps({"id": client * REQUESTS + number}).encode() + b"\n")
        answers.append(json.loads(await asyncio.wait_for(reader.readline(), 60)))
    writer.close()
    await server
    return len(answers)


async def main() -> None:
    await asyncio.gather(*(ask(client) for client in range(CLIENTS)))


asyncio.run(main())
