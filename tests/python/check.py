"""Checks cairn.v1.Files with the client of docs/examples and code made from proto/ by grpcio-tools.

Usage: check.py PROTO_FOLDER FOLDER_FOR_GENERATED_CODE HOST:PORT

Prints length and SHA-256 of the file that it leaves as `python/kept`.
"""

import hashlib
import importlib
import pathlib
import sys

import grpc
from grpc_tools import protoc

def client(protos: str, out: str, address: str):
    """The client of docs/examples, with code made from our protos."""
    files = sorted(str(path) for path in pathlib.Path(protos).rglob("*.proto"))
    arguments = ["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main([*arguments, *files]) != 0:
        sys.exit("protoc refused our protos")
    examples = pathlib.Path(__file__).parents[2] / "docs" / "examples"
    sys.path[:0] = [out, str(examples)]
    module = importlib.import_module("files_client")
    return module.Client(address), module.Refused


def check(client, error) -> bytes:
    def refused(call, code: grpc.StatusCode, reason: str) -> None:
        try:
            call()
        except error as refusal:
            assert (refusal.code, refusal.reason) == (code, reason), refusal
            assert not refusal.retryable and str(refusal), refusal
        else:
            raise AssertionError(f"{code} was expected")

    assert client.serving()
    content = hashlib.shake_256(b"cairn").digest(3_000_001)
    meta = {"content_type": "text/x-python", "user": {"by": "python"}}
    stored = client.put("python/kept", content, meta=meta)
    assert not stored.replaced and stored.receipt.startswith("copies=2"), stored
    assert stored.file.sha256 == hashlib.sha256(content).digest()
    assert client.get("python/kept") == content
    assert client.get("python/kept", 1_048_570, 20) == content[1_048_570:1_048_590]

    client.put("python/\u00e4 b/..", content[:7], known=False)
    assert list(client.keys("python/")) == ["python/kept", "python/\u00e4 b/.."]
    assert client.stat("python/kept").meta.user["by"] == "python"
    client.put("python/empty", b"")
    assert client.get("python/empty") == b""
    assert client.put("python/empty", b"x").replaced
    new = {"must_not_exist": True}
    again = grpc.StatusCode.ALREADY_EXISTS
    refused(lambda: client.put("python/empty", b"", condition=new), again, "OBJECT_EXISTS")

    for key in ["python/\u00e4 b/..", "python/empty"]:
        client.delete(key)
        refused(lambda key=key: client.get(key), grpc.StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND")
    long = grpc.StatusCode.INVALID_ARGUMENT
    refused(lambda: client.put("k" * 1025, b""), long, "INVALID_FIELD")
    assert list(client.keys("python/")) == ["python/kept"]
    return content


def main() -> None:
    content = check(*client(*sys.argv[1:]))
    print(len(content), hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
