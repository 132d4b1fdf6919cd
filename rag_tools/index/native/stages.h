// The stages of a kernel, written once over an instruction set.
//
// Included by one source file per instruction set, after the pragma that enables it; everything
// is in an unnamed namespace and no standard template is used, so no code compiled for one
// instruction set can be linked into another.
//
// Lanes of a register are query tokens: `Isa::kWidth` of them take a step of four dimensions
// (a group) against one token, whose four values are broadcast. A tile is up to 8 tokens against
// one register of query tokens, so that each load of the query is used 8 times and 8 or 16
// independent sums hide the latency of the multiply.
//
// An instruction set supplies
//   kWidth             query tokens per register
//   Element            type of a decoded residual or centroid value
//   Floats, Sum        a register of floats; the running integer sum of one token
//   arrange            lays out the query: per register, per group, 8 bytes a lane
//   decode             a block of packed codes → Elements [group][token][4]
//   widen              int8 → Elements
//   start, add, total  the integer product: total returns floats
//   set, load, store, plus, times, larger

#pragma once

#include "kernel.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define RAG_TOOLS_INLINE __forceinline
#define RAG_TOOLS_PREFETCH(address) static_cast<void>(address)
#else
#define RAG_TOOLS_INLINE inline __attribute__((always_inline))
#define RAG_TOOLS_PREFETCH(address) __builtin_prefetch(address)
#endif

namespace rag_tools {
namespace {

constexpr int kTile = 8;
constexpr int kRowBytes = 8;   // of a lane, per group

inline float from_half(uint16_t half) {
    // Exponent and mantissa fall into place with a bias that the multiplication corrects, also
    // for subnormals. Inverse norms are finite and positive.
    union {
        uint32_t bits;
        float value;
    } shifted = {static_cast<uint32_t>(half) << 13};
    return shifted.value * 5.192296858534828e33f;   // 2**112
}

// Multiply N tokens with one register of query tokens; hand each token's products to `finish`.
template <class Isa, int N, class Finish>
RAG_TOOLS_INLINE void tile(const Query& query, int lane, const typename Isa::Element* tokens,
                           ptrdiff_t token_stride, ptrdiff_t group_stride, Finish& finish) {
    typename Isa::Sum sums[N];
    for (int i = 0; i < N; ++i) sums[i] = Isa::start(query.bias + lane);
    const char* row = static_cast<const char*>(query.rows) +
                      static_cast<ptrdiff_t>(lane) * query.groups * kRowBytes;
    for (int group = 0; group < query.groups; ++group) {
        const typename Isa::Row values = Isa::row(row);
        for (int i = 0; i < N; ++i) Isa::add(sums[i], values, tokens + i * token_stride);
        row += Isa::kWidth * kRowBytes;
        tokens += group_stride;
    }
    for (int i = 0; i < N; ++i) finish(i, Isa::total(sums[i]));
}

template <class Isa, class Finish>
RAG_TOOLS_INLINE void tiles(const Query& query, int lane, const typename Isa::Element* tokens,
                            ptrdiff_t token_stride, ptrdiff_t group_stride, int n,
                            Finish& finish) {
    while (n >= kTile) {
        tile<Isa, kTile>(query, lane, tokens, token_stride, group_stride, finish);
        finish.advance(kTile);
        tokens += kTile * token_stride;
        n -= kTile;
    }
    if (n & 4) {
        tile<Isa, 4>(query, lane, tokens, token_stride, group_stride, finish);
        finish.advance(4);
        tokens += 4 * token_stride;
    }
    if (n & 2) {
        tile<Isa, 2>(query, lane, tokens, token_stride, group_stride, finish);
        finish.advance(2);
        tokens += 2 * token_stride;
    }
    if (n & 1) tile<Isa, 1>(query, lane, tokens, token_stride, group_stride, finish);
}

// Scale the products with centroids and store them.
template <class Isa>
struct StoreCentroids {
    typename Isa::Floats query_scales;
    const float* scales;
    float* similarities;
    ptrdiff_t stride;

    RAG_TOOLS_INLINE void operator()(int i, typename Isa::Floats products) {
        Isa::store(similarities + i * stride,
                   Isa::times(Isa::times(products, query_scales), Isa::set(scales[i])));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        scales += n;
        similarities += n * stride;
    }
};

// What completes the residual products of the tokens of a block.
struct Block {
    const float* centroids[kBlockTokens];   // each token's row of the table
    float inverse_norms[kBlockTokens];
};

template <class Isa>
struct Complete {
    typename Isa::Floats query_scales;
    const float* const* centroids;
    const float* inverse_norms;
    int lane;

    RAG_TOOLS_INLINE typename Isa::Floats similarity(int i, typename Isa::Floats products) const {
        return Isa::times(
            Isa::plus(Isa::times(products, query_scales), Isa::load(centroids[i] + lane)),
            Isa::set(inverse_norms[i]));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        centroids += n;
        inverse_norms += n;
    }
};

template <class Isa>
struct KeepBest : Complete<Isa> {
    typename Isa::Floats best;

    RAG_TOOLS_INLINE void operator()(int i, typename Isa::Floats products) {
        best = Isa::larger(best, this->similarity(i, products));
    }
};

template <class Isa>
struct StoreSimilarities : Complete<Isa> {
    float* similarities;
    ptrdiff_t stride;

    RAG_TOOLS_INLINE void operator()(int i, typename Isa::Floats products) {
        Isa::store(similarities + i * stride, this->similarity(i, products));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        Complete<Isa>::advance(n);
        similarities += n * stride;
    }
};

// Decodes blocks one at a time, and remembers the last: passages share the blocks at their ends.
template <class Isa>
class Decoder {
  public:
    Decoder(const Query& query, const Tokens& tokens, const Table& table, void* scratch)
        : query_(query), tokens_(tokens), table_(table),
          elements_(static_cast<typename Isa::Element*>(scratch)) {}

    // Make the block of the tokens from `first` to `last` current; return its first wanted token.
    RAG_TOOLS_INLINE const typename Isa::Element* seek(int64_t first, int64_t last) {
        const int64_t block = first / kBlockTokens;
        if (block != decoded_) {
            decode(block);
            decoded_ = block;
        }
        for (int64_t token = first; token < last; ++token) {
            current_.centroids[token - first] = row(token);
            current_.inverse_norms[token - first] = from_half(tokens_.inverse_norms[token]);
        }
        return elements_ + (first % kBlockTokens) * 4;
    }

    // Have what `seek` will want brought into the cache while something else is computed.
    RAG_TOOLS_INLINE void prefetch(int64_t first, int64_t last) const {
        const int64_t bytes = static_cast<int64_t>(query_.groups) * tokens_.bits * 8;
        const uint8_t* codes = tokens_.codes + first / kBlockTokens * bytes;
        for (int64_t line = 0; line < bytes; line += 64) RAG_TOOLS_PREFETCH(codes + line);
        for (int64_t token = first; token < last; ++token)
            for (int lane = 0; lane < query_.padded; lane += 16)
                RAG_TOOLS_PREFETCH(row(token) + lane);
    }

    const Block& current() const { return current_; }

  private:
    const float* row(int64_t token) const {
        const ptrdiff_t row = table_.rows[tokens_.centroid(token)];
        return table_.scores + row * query_.padded;
    }

    void decode(int64_t block) {
        const int groups = query_.groups * tokens_.bits / 8;
        const uint8_t* codes = tokens_.codes + block * groups * 64;
        if (tokens_.bits == 4)
            Isa::template decode<4>(codes, groups, tokens_.values, elements_);
        else if (tokens_.bits == 2)
            Isa::template decode<2>(codes, groups, tokens_.values, elements_);
        else
            Isa::template decode<1>(codes, groups, tokens_.values, elements_);
    }

    const Query& query_;
    const Tokens& tokens_;
    const Table& table_;
    typename Isa::Element* elements_;
    int64_t decoded_ = -1;
    Block current_;
};

inline int64_t end_of_block(int64_t token, int64_t last) {
    const int64_t end = (token / kBlockTokens + 1) * kBlockTokens;
    return end < last ? end : last;
}

template <class Isa>
struct Stages {
    using Element = typename Isa::Element;

    static void centroids(const Query& query, const Centroids& centroids, const uint32_t* chosen,
                          int64_t n, void* scratch, float* similarities) {
        const int dim = query.groups * 4;
        Element* elements = static_cast<Element*>(scratch);   // [token][dim]
        for (int64_t first = 0; first < n; first += kBlockTokens) {
            const int count = static_cast<int>(n - first < kBlockTokens ? n - first : kBlockTokens);
            float scales[kBlockTokens];
            for (int i = 0; i < count; ++i) {
                const int64_t centroid = chosen[first + i];
                Isa::widen(centroids.quantized + centroid * centroids.dim, centroids.dim,
                           elements + i * dim, dim);
                scales[i] = centroids.scales[centroid];
            }
            for (int lane = 0; lane < query.padded; lane += Isa::kWidth) {
                StoreCentroids<Isa> finish = {Isa::load(query.scales + lane), scales,
                                              similarities + first * query.padded + lane,
                                              query.padded};
                tiles<Isa>(query, lane, elements, dim, 4, count, finish);
            }
        }
    }

    static void maxsim(const Query& query, const Tokens& tokens, const Table& table,
                       const float* weights, const int64_t* token_offsets,
                       const int64_t* positions, int64_t n, void* scratch, float* best,
                       float* scores) {
        Decoder<Isa> decoder(query, tokens, table, scratch);
        for (int64_t passage = 0; passage < n; ++passage) {
            int64_t token = token_offsets[positions[passage]];
            const int64_t last = token_offsets[positions[passage] + 1];
            for (int lane = 0; lane < query.padded; ++lane) best[lane] = -1e30f;
            while (token < last) {
                const int64_t end = end_of_block(token, last);
                const Element* elements = decoder.seek(token, end);
                if (end < last) {
                    decoder.prefetch(end, end_of_block(end, last));
                } else if (passage + 1 < n) {
                    const int64_t next = token_offsets[positions[passage + 1]];
                    decoder.prefetch(
                        next, end_of_block(next, token_offsets[positions[passage + 1] + 1]));
                }
                for (int lane = 0; lane < query.padded; lane += Isa::kWidth) {
                    KeepBest<Isa> finish = {
                        {Isa::load(query.scales + lane), decoder.current().centroids,
                         decoder.current().inverse_norms, lane},
                        Isa::load(best + lane)};
                    tiles<Isa>(query, lane, elements, 4, 4 * kBlockTokens,
                               static_cast<int>(end - token), finish);
                    Isa::store(best + lane, finish.best);
                }
                token = end;
            }
            float score = 0;
            for (int row = 0; row < query.n; ++row) score += weights[row] * best[row];
            scores[passage] = score;
        }
    }

    static void similarities(const Query& query, const Tokens& tokens, const Table& table,
                             int64_t first, int64_t last, void* scratch, float* similarities) {
        Decoder<Isa> decoder(query, tokens, table, scratch);
        for (int64_t token = first; token < last; token = end_of_block(token, last)) {
            const int64_t end = end_of_block(token, last);
            const Element* elements = decoder.seek(token, end);
            for (int lane = 0; lane < query.padded; lane += Isa::kWidth) {
                StoreSimilarities<Isa> finish = {
                    {Isa::load(query.scales + lane), decoder.current().centroids,
                     decoder.current().inverse_norms, lane},
                    similarities + (token - first) * query.padded + lane,
                    query.padded};
                tiles<Isa>(query, lane, elements, 4, 4 * kBlockTokens,
                           static_cast<int>(end - token), finish);
            }
        }
    }

    static Kernel kernel(const char* name, bool (*supported)()) {
        return {name, supported, Isa::arrange, centroids, maxsim, similarities};
    }
};

}  // namespace
}  // namespace rag_tools
