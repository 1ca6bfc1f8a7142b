// SPDX-License-Identifier: GPL-2.0-or-later
/* What damaged images must read as. */
#include "entry.h"
#include "oracle.h"

static void copy(const struct fuzz_layer *l, u64 pos, u64 len, u8 *to)
{
	u64 there = pos < l->len ? l->len - pos : 0;

	if (there > len)
		there = len;
	if (there)
		memcpy(to, l->bytes + pos, there);
	memset(to + there, 0, len - there);
}

static u64 word(const struct fuzz_layer *l, u64 pos)
{
	u8 bytes[8];

	copy(l, pos, sizeof(bytes), bytes);
	return qc_get_be64(bytes);
}

void fuzz_layer_init(struct fuzz_layer *l)
{
	u8 header[48];

	l->size = qc_round_up(l->store, QC_SECTOR_SIZE);
	if (l->raw)
		return;
	copy(l, 0, sizeof(header), header);
	l->version = qc_get_be32(header + 4);
	l->cluster_bits = qc_get_be32(header + 20);
	l->size = qc_round_up(qc_get_be64(header + 24), QC_SECTOR_SIZE);
	l->l1_size = qc_get_be32(header + 36);
	l->l1_offset = qc_get_be64(header + 40);
}

/* Neither between clusters, nor beyond the end, nor with bits that mean nothing. */
static bool good_offset(const struct fuzz_layer *l, u64 entry, u64 reserved)
{
	u64 offset = entry & QC_OFFSET_MASK;

	return !(entry & reserved) && !(offset & (BIT_ULL(l->cluster_bits) - 1)) &&
	       offset < l->store;
}

static bool good_compressed(const struct fuzz_layer *l, u64 entry)
{
	u32 bits = 62 - (l->cluster_bits - 8);
	u64 pos = entry & (BIT_ULL(bits) - 1);

	return !(entry & QC_COPIED) && pos && pos < BIT_ULL(56) && pos < l->store;
}

/*
 * One layer, within one of its clusters.  *@through: nothing is here, look further down.
 */
static enum fuzz_expect from_layer(const struct fuzz_layer *l, u64 pos, u64 len, u8 *buf,
				   bool *through)
{
	u64 cluster = BIT_ULL(l->cluster_bits), index = pos >> l->cluster_bits;
	u64 l1 = word(l, l->l1_offset + 8 * (index >> (l->cluster_bits - 3)));
	u64 table = l1 & QC_OFFSET_MASK, entry;

	*through = !l1;
	if (!l1)
		return FUZZ_BYTES;
	if (!table || !good_offset(l, l1, QC_L1_RESERVED))
		return FUZZ_ERROR;
	if (table + cluster > l->l1_offset && table < l->l1_offset + 8ULL * l->l1_size)
		return FUZZ_ANY;
	entry = word(l, table + 8 * (index & (cluster / 8 - 1)));
	if (entry & QC_COMPRESSED)
		return good_compressed(l, entry) ? FUZZ_ANY : FUZZ_ERROR;
	if (!good_offset(l, entry, QC_L2_RESERVED | (l->version < 3 ? QC_ZERO : 0)) ||
	    (!(entry & QC_OFFSET_MASK) && entry & QC_COPIED))
		return FUZZ_ERROR;
	*through = !entry;
	if (entry & QC_ZERO)
		memset(buf, 0, len);
	else if (entry)
		copy(l, (entry & QC_OFFSET_MASK) + (pos & (cluster - 1)), len, buf);
	return FUZZ_BYTES;
}

/* A sector, which lies in one cluster of every layer. */
static enum fuzz_expect sector(const struct fuzz_layer *layers, unsigned int count, u64 pos,
			       u8 *buf)
{
	for (const struct fuzz_layer *l = layers; l < layers + count; l++) {
		enum fuzz_expect expect;
		bool through;

		if (pos >= l->size)
			break;
		if (l->raw) {
			copy(l, pos, QC_SECTOR_SIZE, buf);
			return FUZZ_BYTES;
		}
		expect = from_layer(l, pos, QC_SECTOR_SIZE, buf, &through);
		if (!through)
			return expect;
	}
	memset(buf, 0, QC_SECTOR_SIZE);
	return FUZZ_BYTES;
}

enum fuzz_expect fuzz_expected(const struct fuzz_layer *layers, unsigned int count, u64 pos,
			       u64 len, u8 *buf)
{
	bool error = false, any = false;

	for (u64 at = 0; at < len; at += QC_SECTOR_SIZE) {
		switch (sector(layers, count, pos + at, buf + at)) {
		case FUZZ_BYTES:
			break;
		case FUZZ_ERROR:
			error = true;
			break;
		case FUZZ_ANY:
			any = true;
			break;
		}
	}
	return error ? FUZZ_ERROR : any ? FUZZ_ANY : FUZZ_BYTES;
}
