"""A client of cairn.v1.Files. docs/grpc.md explains it; run as a program it shows what it does.

Usage: files_client.py HOST:PORT
"""

import sys
import time
import uuid

import grpc

sys.path.append("target/cairn-python")  # where protoc wrote cairn/v1

from cairn.v1 import common_pb2, files_pb2, files_pb2_grpc  # noqa: E402

FRAME = 1 << 20  # most bytes of data in a message
DEADLINE = 60  # seconds
TRIES = 4


class Refused(Exception):
    """An error of Cairn: its gRPC code, its exact reason, and whether the same call can succeed later."""

    def __init__(self, error: grpc.RpcError) -> None:
        trailers = dict(error.trailing_metadata() or ())
        raw = trailers.get("grpc-status-details-bin", b"")
        detail = common_pb2.ErrorDetail.FromString(raw)
        self.code = error.code()
        self.reason = common_pb2.ErrorReason.Name(detail.reason).removeprefix("ERROR_REASON_")
        # Without a detail the answer is the transport's: the call may or may not have happened.
        transport = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.retryable = detail.retryable or (not raw and self.code in transport)
        super().__init__(f"{self.code.name}, {self.reason}: {error.details()}")


class Client:
    def __init__(self, address: str) -> None:
        limit = [("grpc.max_receive_message_length", 4 << 20)]
        self.channel = grpc.insecure_channel(address, options=limit)
        self.files = files_pb2_grpc.FilesStub(self.channel)

    def serving(self) -> bool:
        """Asks grpc.health.v1.Health for the whole server; the answer's field 1 is 1 when it serves."""
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        return check(b"", timeout=DEADLINE) == b"\x08\x01"

    def put(self, key: str, content: bytes, known: bool = True, **header):
        """Stores a file. Of unknown length, quota is reserved as it arrives."""

        def parts():
            length = len(content) if known else None
            yield files_pb2.PutFileRequest(
                header=files_pb2.PutFileHeader(key=key, length=length, **header)
            )
            for at in range(0, len(content), FRAME):
                yield files_pb2.PutFileRequest(data=content[at : at + FRAME])

        return self.call(lambda **options: self.files.Put(parts(), **options))

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Reads a file, or a part of it. The first message tells what it is."""
        request = files_pb2.GetFileRequest(key=key, offset=offset, length=length)

        def read(**options):
            messages = self.files.Get(request, **options)
            next(messages)
            return b"".join(message.data for message in messages)

        return self.call(read)

    def stat(self, key: str):
        request = files_pb2.StatFileRequest(key=key)
        return self.call(lambda **options: self.files.Stat(request, **options)).file

    def keys(self, prefix: str):
        """All keys that begin with the prefix, page by page."""
        after = ""
        while after is not None:
            request = files_pb2.ListFilesRequest(prefix=prefix, after=after)
            page = self.call(lambda **options: self.files.List(request, **options))
            yield from (file.key for file in page.files)
            after = page.next_after if page.HasField("next_after") else None

    def delete(self, key: str) -> None:
        request = files_pb2.DeleteFileRequest(key=key)
        # A delete whose answer was lost may stand: a repeat would say that there is no such file.
        self.call(lambda **options: self.files.Delete(request, **options), tries=1)

    def call(self, send, tries: int = TRIES):
        """Sends a call under a request id, again when the server says that it can succeed later."""
        request_id = str(uuid.uuid4())
        for tried in range(1, tries + 1):
            try:
                return send(timeout=DEADLINE, metadata=(("x-request-id", request_id),))
            except grpc.RpcError as error:
                refused = Refused(error)
                if not refused.retryable or tried == tries:
                    raise refused from error
                time.sleep(2 ** (tried - 1))


def main() -> None:
    client = Client(sys.argv[1])
    print("serving:", client.serving())
    content = b"cairn " * 500_000
    stored = client.put("examples/hello", content)
    print("put:", stored.file.key, stored.file.length, "bytes,", stored.receipt)
    print("get: the same bytes:", client.get("examples/hello") == content)
    print("part:", client.get("examples/hello", offset=6, length=5))
    print("keys:", list(client.keys("examples/")))
    new = common_pb2.WriteCondition(must_not_exist=True)
    for attempt in (
        lambda: client.put("examples/hello", b"other", condition=new),
        lambda: client.delete("examples/hello"),
        lambda: client.get("examples/hello"),
    ):
        try:
            attempt()
            print("done")
        except Refused as refused:
            print("refused:", refused)


if __name__ == "__main__":
    main()
