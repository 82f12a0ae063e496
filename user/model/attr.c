// SPDX-License-Identifier: Apache-2.0
/*
 * The attribute keys that more than one room uses. The label is written out, not
 * derived at run time, so that a series look-up touches no allocator.
 */
#include "user/model/attr.h"

const struct attr_key attr_error_type = {"error.type", "error_type"};
const struct attr_key attr_server_address = {"server.address", "server_address"};
const struct attr_key attr_server_port = {"server.port", "server_port"};
const struct attr_key attr_client_address = {"client.address", "client_address"};
const struct attr_key attr_network_peer_address = {"network.peer.address", "network_peer_address"};
const struct attr_key attr_network_peer_port = {"network.peer.port", "network_peer_port"};
const struct attr_key attr_network_local_address = {"network.local.address", "network_local_address"};
const struct attr_key attr_network_local_port = {"network.local.port", "network_local_port"};
const struct attr_key attr_network_transport = {"network.transport", "network_transport"};
const struct attr_key attr_network_protocol_name = {"network.protocol.name", "network_protocol_name"};
const struct attr_key attr_network_protocol_version = {"network.protocol.version", "network_protocol_version"};
