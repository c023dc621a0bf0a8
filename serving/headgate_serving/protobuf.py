"""Messages of gRPC from a table, so that there is neither generated code nor a compiler to install.

A message is a tuple of fields, each written as in a .proto file: `string name = 1`, `repeated int64 shape = 3`,
`map InferParameter parameters = 4`, and `oneof Type field = 5` for all fields of a message's only oneof. A name with a
dot is a message inside of another. Used by the server's protocol and by the router's shadow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Proto = descriptor_pb2.FieldDescriptorProto

_SCALARS = {
    "bool": _Proto.TYPE_BOOL,
    "int32": _Proto.TYPE_INT32,
    "int64": _Proto.TYPE_INT64,
    "uint32": _Proto.TYPE_UINT32,
    "uint64": _Proto.TYPE_UINT64,
    "float": _Proto.TYPE_FLOAT,
    "double": _Proto.TYPE_DOUBLE,
    "string": _Proto.TYPE_STRING,
    "bytes": _Proto.TYPE_BYTES,
}


class File:
    """One file of definitions: `service` with its package, and the messages and methods by name."""

    def __init__(
        self, path: str, service: str, messages: Mapping[str, Sequence[str]], methods: Mapping[str, str]
    ) -> None:
        package, _, name = service.rpartition(".")
        self.proto = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
        self._messages: dict[str, Any] = {}
        for message, fields in messages.items():
            self._add(message, fields)
        for message in messages:
            if outer := message.rpartition(".")[0]:
                self._messages[outer].nested_type.append(self._messages[message])
        self.proto.message_type.extend(self._messages[message] for message in messages if "." not in message)
        served = self.proto.service.add(name=name)
        for method, form in methods.items():
            self._add_method(served, package, method, form.split())

    def _add(self, name: str, fields: Sequence[str]) -> None:
        message = self._messages[name] = descriptor_pb2.DescriptorProto(name=name.rpartition(".")[2])
        for text in fields:
            *labels, kind, field, _, number = text.split()
            if labels == ["map"]:
                self._add_map(message, field, kind)
                kind, labels = f"{name}.{message.nested_type[-1].name}", ["repeated"]
            added = message.field.add(name=field, number=int(number), json_name=field)
            added.label = _Proto.LABEL_REPEATED if labels == ["repeated"] else _Proto.LABEL_OPTIONAL
            self._set_type(added, kind)
            if labels == ["oneof"]:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="choice")
                added.oneof_index = 0

    def _add_map(self, message: Any, field: str, value: str) -> None:
        entry = message.nested_type.add(name=f"{field.capitalize()}Entry")
        entry.options.map_entry = True
        key = entry.field.add(name="key", number=1, json_name="key", label=_Proto.LABEL_OPTIONAL)
        key.type = _Proto.TYPE_STRING
        self._set_type(entry.field.add(name="value", number=2, json_name="value", label=_Proto.LABEL_OPTIONAL), value)

    def _set_type(self, field: Any, kind: str) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _Proto.TYPE_MESSAGE
            field.type_name = f".{self.proto.package}.{kind}"

    def _add_method(self, service: Any, package: str, name: str, form: list[str]) -> None:
        how = form.pop(0) if len(form) > 1 else ""
        asked, told = form if how else (f"{form[0]}Request", f"{form[0]}Response")
        service.method.add(
            name=name,
            input_type=f".{package}.{asked}",
            output_type=f".{package}.{told}",
            client_streaming=how == "stream",
            server_streaming=how in ("stream", "answers"),
        )


def classes(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> dict[str, Any]:
    """The classes of all messages that are not inside of another, by their full names."""
    files, pool = list(files), descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    names = [f"{file.package}.{message.name}" for file in files for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}
