/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a protocol's kernel half tells its decoder about a piece, in ev_data.note, or about the end, in ev_end.note. The kernel's half has seen
 * every byte, also of records that were lost: with its word a decoder is in step again at the next piece.
 *
 * NOTE_HEAD: a message begins with the first byte; where it is not set, none does.
 * NOTE_REST: something else: a message's continuation, its last chunk, a line between messages.
 * NOTE_CHUNK: before the first byte the stream stands at the start of a chunk's size line.
 * NOTE_NUMBER: the number of the request on this connection, or of the one that is answered (also by an interim answer),
 *   counted from 0 and wrapping. It is left out when bytes have passed that nobody looked at.
 *
 * With NOTE_HEAD, bits 0–31 are the number and NOTE_REQUEST tells the role.
 * At the end: NOTE_CHUNK inside a chunked body.
 *
 * With NOTE_CHUNK, bits 0–43 are the body's payload before this piece and bits 44–59 the number's low 16 bits.
 */
#pragma once

#define NOTE_CHUNK (1ULL << 63)
#define NOTE_HEAD (1ULL << 62)
#define NOTE_NUMBER (1ULL << 61)
#define NOTE_REST (1ULL << 60)

#define NOTE_REQUEST (1ULL << 32)
#define NOTE_HEAD_NUMBER(note) ((note) & 0xffffffff)

#define NOTE_CHUNK_BODY(note) ((note) & ((1ULL << 44) - 1))
#define NOTE_CHUNK_NUMBER(note) ((note) >> 44 & 0xffff)
#define NOTE_CHUNK_MAKE(body, number) (NOTE_CHUNK | NOTE_REST | NOTE_CHUNK_BODY(body) | ((number) & 0xffff) * (1ULL << 44))
