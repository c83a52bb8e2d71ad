"""Puts, gets, lists and deletes through cairn.v1.Files, with code made from proto/ by grpcio-tools.

Usage: files_client.py PROTO_FOLDER FOLDER_FOR_GENERATED_CODE HOST:PORT

Prints length and SHA-256 of the file that it leaves as `python/kept`.
"""

import hashlib
import importlib
import pathlib
import sys

import grpc
from grpc_tools import protoc

FRAME = 1 << 20


def generate(protos: str, out: str) -> None:
    files = sorted(str(path) for path in pathlib.Path(protos).rglob("*.proto"))
    arguments = ["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main([*arguments, *files]) != 0:
        sys.exit("protoc refused our protos")
    sys.path.insert(0, out)


class Client:
    def __init__(self, address: str) -> None:
        self.messages = importlib.import_module("cairn.v1.files_pb2")
        self.common = importlib.import_module("cairn.v1.common_pb2")
        services = importlib.import_module("cairn.v1.files_pb2_grpc")
        limit = [("grpc.max_receive_message_length", 4 << 20)]
        self.files = services.FilesStub(grpc.insecure_channel(address, options=limit))

    def parts(self, key: str, content: bytes, known: bool):
        header = self.messages.PutFileHeader(
            key=key,
            length=len(content) if known else None,
            meta=self.common.ObjectMeta(content_type="text/x-python", user={"by": "python"}),
        )
        yield self.messages.PutFileRequest(header=header)
        for at in range(0, len(content), FRAME):
            yield self.messages.PutFileRequest(data=content[at : at + FRAME])

    def put(self, key: str, content: bytes, known: bool = True):
        return self.files.Put(self.parts(key, content, known), timeout=60)

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        request = self.messages.GetFileRequest(key=key, offset=offset, length=length)
        return b"".join(part.data for part in self.files.Get(request, timeout=60))

    def keys(self, prefix: str) -> list[str]:
        request = self.messages.ListFilesRequest(prefix=prefix)
        return [file.key for file in self.files.List(request, timeout=60).files]

    def delete(self, key: str) -> None:
        self.files.Delete(self.messages.DeleteFileRequest(key=key), timeout=60)

    def stat(self, key: str):
        return self.files.Stat(self.messages.StatFileRequest(key=key), timeout=60).file


def refused(call, code: grpc.StatusCode) -> None:
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert error.details(), "an error without a text"
    else:
        raise AssertionError(f"{code} was expected")


def check(client: Client) -> bytes:
    content = hashlib.shake_256(b"cairn").digest(3_000_001)
    stored = client.put("python/kept", content)
    assert not stored.replaced and stored.receipt.startswith("copies=2"), stored
    assert stored.file.sha256 == hashlib.sha256(content).digest()
    assert client.get("python/kept") == content
    assert client.get("python/kept", 1_048_570, 20) == content[1_048_570:1_048_590]

    client.put("python/\u00e4 b/..", content[:7], known=False)
    assert client.keys("python/") == ["python/kept", "python/\u00e4 b/.."]
    assert client.stat("python/\u00e4 b/..").meta.user["by"] == "python"
    client.put("python/empty", b"")
    assert client.get("python/empty") == b""
    assert client.put("python/empty", b"x").replaced

    for key in ["python/\u00e4 b/..", "python/empty"]:
        client.delete(key)
        refused(lambda key=key: client.get(key), grpc.StatusCode.NOT_FOUND)
    refused(lambda: client.put("k" * 1025, b""), grpc.StatusCode.INVALID_ARGUMENT)
    assert client.keys("python/") == ["python/kept"]
    return content


def main() -> None:
    protos, out, address = sys.argv[1:]
    generate(protos, out)
    content = check(Client(address))
    print(len(content), hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
