/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#define BPF_CORE_READ(p, field) ((p)->field)
#define BPF_CORE_READ_BITFIELD(p, field) ((p)->field)
