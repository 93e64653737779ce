"""A partner on NATS, by nats-py: signs in, asks and listens as it is told, and prints what came of it, a line each."""

import asyncio
import json
import sys

import nats

url, job = sys.argv[1], json.loads(sys.argv[2])


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    refused = asyncio.Queue()
    closed = asyncio.Event()

    async def on_error(error):
        if "permissions violation" in str(error):
            refused.put_nowait(str(error))

    async def on_closed():
        closed.set()

    try:
        connection = await nats.connect(
            url,
            **job["login"],
            inbox_prefix=job["inbox"].encode(),
            allow_reconnect=False,
            error_cb=on_error,
            closed_cb=on_closed,
        )
    except Exception as error:
        say(connected=False, why=str(error))
        return
    say(connected=True)

    async def first_of(asked):
        asked = asyncio.ensure_future(asked)
        no = asyncio.ensure_future(refused.get())
        done, _ = await asyncio.wait(
            [asked, no], timeout=10, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (asked, no):
            task.cancel()
        return asked.result() if asked in done else None, no in done

    for ask in job.get("asks", []):
        body = json.dumps(ask["body"]).encode()
        headers = ask.get("headers")
        for _ in range(ask.get("times", 1)):
            reply, no = await first_of(
                connection.request(ask["subject"], body, headers=headers, timeout=10)
            )
            if no:
                say(subject=ask["subject"], refused=True)
                continue
            code = (reply.headers or {}).get("Nats-Service-Error-Code")
            say(
                subject=ask["subject"],
                status=int(code) if code else 200,
                reply=json.loads(reply.data),
            )
    for subject in job.get("hears", []):

        async def hear():
            await connection.subscribe(subject)
            await connection.flush()
            await asyncio.sleep(0)

        _, no = await first_of(hear())
        if not no:
            # The server answers in order: what it refuses it has refused by the next answer.
            await connection.flush()
            no = not refused.empty()
        while not refused.empty():
            refused.get_nowait()
        say(subject=subject, refused=no)
    if job.get("stays"):
        say(stays=True)
        await closed.wait()
        say(closed=True)
    else:
        await connection.close()


asyncio.run(main())
