"""A service of envoy.service.auth.v3.Authorization with gRPC's own server and Envoy's own messages: ext_authz.py ADDRESS PORT

Lets in who has a token, tells endpoints who it is and takes the token out; prints what it is asked.
"""

import sys
from concurrent import futures

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.rpc import code_pb2, status_pb2


def header(name, value):
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, value=value))


class Authorization(external_auth_pb2_grpc.AuthorizationServicer):
    def Check(self, request, context):
        source = request.attributes.source.address.socket_address
        http = request.attributes.request.http
        print("asked", source.address, http.method, http.path, http.host, http.scheme, http.protocol, flush=True)
        if http.headers.get("authorization") == "Bearer good":
            return external_auth_pb2.CheckResponse(
                status=status_pb2.Status(code=code_pb2.OK),
                ok_response=external_auth_pb2.OkHttpResponse(
                    headers=[header("x-user", "anna")], headers_to_remove=["authorization"]
                ),
            )
        return external_auth_pb2.CheckResponse(
            status=status_pb2.Status(code=code_pb2.UNAUTHENTICATED),
            denied_response=external_auth_pb2.DeniedHttpResponse(
                status=http_status_pb2.HttpStatus(code=http_status_pb2.Unauthorized),
                headers=[header("www-authenticate", "Bearer")],
                body="who are you?",
            ),
        )


address, port = sys.argv[1:]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Authorization(), server)
server.add_insecure_port(f"{address}:{port}")
server.start()
print("serving", flush=True)
server.wait_for_termination()
