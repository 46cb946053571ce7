// FineQ's clusters: three weights of one column in 6 bits, a pattern of 2 bits for each pair of
// clusters; the layout is that of target/clusters.py.
#pragma once
#include <cstdint>

namespace microscopiq {

// Bytes of one column's group of up to kClusterGroup rows.
int64_t GroupBytes(int64_t rows);

// Bytes of the groups of a panel: of all its columns.
int64_t ClusterBytes(int64_t rows, int64_t cols);

// Expands the group of one column that starts at `bytes` to `rows` weights; there must be room for
// those of a whole group.
void DecodeGroup(const uint8_t* bytes, int rows, int8_t* weights);

}  // namespace microscopiq
