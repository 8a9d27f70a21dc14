"""Calls a service of gRPC at `argv[1]`, with the token `argv[2]` where that is not empty, as `argv[3]` says; prints what comes of it as JSON."""

import json
import sys

import grpc

address, token, what = sys.argv[1:4]
channel = grpc.insecure_channel(address)
metadata = (("authorization", f"Bearer {token}"),) if token else ()
SAME = {"request_serializer": None, "response_deserializer": None}


def path(method):
    return f"/test.Kinds/{method}"


def unary(method, message=b"", **further):
    return channel.unary_unary(path(method), **SAME).with_call(message, metadata=metadata, **further)


def outcome(call):
    try:
        return call()
    except grpc.RpcError as error:
        return {"status": error.code().name, "details": error.details()}


def kinds():
    response, call = unary("Unary", b"hello", timeout=20)
    return {
        "unary": json.loads(response),
        "trailers": {key: value for key, value in call.trailing_metadata()},
        "server_stream": [m.decode() for m in channel.unary_stream(path("ServerStream"), **SAME)(b"5", metadata=metadata)],
        "client_stream": channel.stream_unary(path("ClientStream"), **SAME)(iter([b"a", b"b", b"c"]), metadata=metadata).decode(),
        "both_ways": both_ways(),
    }


def both_ways():
    """Each message is sent when the one before it was answered."""
    import queue

    turns = queue.Queue()
    turns.put(b"0")
    heard = []
    for message in channel.stream_stream(path("BothWays"), **SAME)(iter(turns.get, None), metadata=metadata):
        heard.append(message.decode())
        turns.put(str(len(heard)).encode() if len(heard) < 3 else None)
    return heard


def fails():
    return outcome(lambda: unary("Fails"))


def nothing():
    return outcome(lambda: unary("Unary", timeout=20))


def unknown():
    return outcome(lambda: unary("Nothing"))


def deadline():
    return outcome(lambda: unary("Slow", b"5", timeout=0.5))


def many():
    """One call after the other, while connections behind the gateway come and go."""
    failed = [said for said in (outcome(lambda: unary("Unary", b"x" * 100)) for _ in range(int(sys.argv[4]))) if isinstance(said, dict)]
    return {"failed": failed}


def endless():
    """Says when the first message is there; then what ends the call."""
    call = channel.unary_stream(path("Endless"), **SAME)(sys.argv[4].encode(), metadata=metadata)
    print(json.dumps(next(call).decode()), flush=True)
    return outcome(lambda: next(call).decode())


print(json.dumps(globals()[what]()), flush=True)
