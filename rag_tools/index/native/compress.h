// What the writing side does to every token, over plain arrays. One thread: callers give each of
// theirs some of the tokens.

#pragma once

#include <cstdint>
#include <vector>

#include "kernel.h"

namespace rag_tools {

// Tokens by vocabulary token: those of group g are rows[starts[g]] to rows[starts[g + 1] - 1],
// and their centroids are numbers firsts[g] to lasts[g] - 1.
struct Groups {
    const int64_t* rows;     // (n_rows)
    const int64_t* starts;   // (n + 1)
    const int64_t* firsts;   // (n)
    const int64_t* lasts;    // (n)
    int64_t n;
    int64_t n_rows;
};

// See residual.py, which is the reference.
struct Codec {
    const int8_t* values;   // (2, kValues), rising
    const float* steps;     // (dim)
    CodeLayout layout;
};

// All throw std::out_of_range when an array points outside another.

// The nearest centroid of each of `n_vectors` tokens among those of its group, the first of equal
// ones. Similarities are those of the kernel: tokens in 16 bits.
void assign(const Kernel&, const float* vectors, int64_t n_vectors, const Groups&,
            const Centroids&, int32_t* nearest);

// Residual codes as `residual.pack` lays them out, (n, packed groups, 4), their gains, and the
// inverse norms of what they restore, both (n).
void encode(const float* vectors, const int32_t* nearest, int64_t n, const Centroids&,
            const Codec&, uint8_t* packed, uint8_t* gains, float* inverse_norms);

// Passages that hold each of `n_ids` ids: `offsets` (n_ids + 1) into the passages returned, which
// rise for each id.
std::vector<uint32_t> postings(const int32_t* ids, int64_t n_tokens, const int64_t* token_offsets,
                               int64_t n_passages, int64_t n_ids, uint32_t* offsets);

}  // namespace rag_tools
