"""A node of OpenDHT's Python binding, told what to do by lines, as binding.rs describes.

Every answer is a line of JSON. Callbacks come from a thread of the library.
"""

import json
import sys

import opendht as dht


def tell(**answer):
    print(json.dumps(answer), flush=True)


def view(value):
    # To ask a value that nobody signed for its owner ends the program: only those who know ask.
    return {"id": value.id, "user_type": value.user_type, "data": value.data.hex()}


def main():
    identity = dht.Identity.generate("binding", bits=2048)
    config = dht.DhtConfig()
    config.setIdentity(identity)
    node = dht.DhtRunner()
    node.run(port=0, config=config)
    node.bootstrap(sys.argv[1], sys.argv[2])
    tell(key_id=str(identity.publickey.getId()))
    tokens = []
    for line in sys.stdin:
        command, key, *rest = line.split()
        key = dht.InfoHash(key.encode())
        if command == "put":
            value = dht.Value(bytes.fromhex(rest[2]))
            value.id, value.user_type = int(rest[0]), rest[1]
            node.put(key, value, done_cb=lambda fine, nodes: tell(put=fine, nodes=len(nodes)))
        elif command == "get":
            values = []
            node.get(
                key,
                get_cb=lambda value: values.append(view(value)) or True,
                done_cb=lambda fine, nodes: tell(got=values),
            )
        elif command == "owner":
            owners = []
            node.get(
                key,
                get_cb=lambda value: owners.append(str(value.owner.getId())) or True,
                done_cb=lambda fine, nodes: tell(owners=owners),
            )
        elif command == "listen":
            told = lambda value, expired: tell(told=view(value), expired=expired) or True
            tokens.append(node.listen(key, told))
            tell(listening=True)
    node.shutdown()


main()
