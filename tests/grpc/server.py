"""A service of gRPC with a call of each kind, without any schema: messages are bytes. Says its port, then one line for each call that it sees
end before it has said everything."""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

IDENTITY = lambda message: message
ENDED = threading.Lock()


def fields(context):
    return {key: value if isinstance(value, str) else value.hex() for key, value in context.invocation_metadata()}


def unary(request, context):
    """The fields as they came, and the message."""
    context.set_trailing_metadata((("x-after", "said"), ("x-auth-subject", "eve")))
    return json.dumps({"fields": fields(context), "message": request.decode()}).encode()


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def client_stream(requests, context):
    return b"+".join(requests)


def both_ways(requests, context):
    for request in requests:
        yield b"echo " + request


def fails(request, context):
    """Says its status alone."""
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not on a Monday")


def endless(request, context):
    """Says one thing and waits."""
    over = threading.Event()
    context.add_callback(over.set)
    yield b"one"
    over.wait(20)
    with ENDED:
        print(f"ended {request.decode()}", flush=True)


def slow(request, context):
    time.sleep(float(request))
    return b"late"


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary, IDENTITY, IDENTITY),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream, IDENTITY, IDENTITY),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream, IDENTITY, IDENTITY),
    "BothWays": grpc.stream_stream_rpc_method_handler(both_ways, IDENTITY, IDENTITY),
    "Fails": grpc.unary_unary_rpc_method_handler(fails, IDENTITY, IDENTITY),
    "Endless": grpc.unary_stream_rpc_method_handler(endless, IDENTITY, IDENTITY),
    "Slow": grpc.unary_unary_rpc_method_handler(slow, IDENTITY, IDENTITY),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.max_connection_age_ms", int(sys.argv[1]))])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Kinds", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening on port {port}", flush=True)
server.wait_for_termination()
