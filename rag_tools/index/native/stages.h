// The stages of a kernel, written once over an instruction set.
//
// Included by one source file per instruction set, after the pragma that enables it. Everything is
// in an unnamed namespace and no standard template is used, so no code compiled for one instruction
// set can be linked into another; the table of the stages is constant data, so no code runs before
// dispatch.cpp has asked the processor. tests/index/test_binary.py reads the compiled files.
//
// Lanes of a register are query tokens: `Isa::kWidth` of them take a step of four dimensions
// (a group) against one token, whose four values are broadcast. A tile is up to `kTile` tokens
// against one register of query tokens, so that each load of the query is used that often and 8 to
// 16 independent sums hide the latency of the multiply.
//
// An instruction set supplies
//   kName, kWidth      of its kernel; query tokens per register
//   Element            type of a decoded residual or centroid value
//   Floats             a register of floats
//   arrange            lays out the query: per register, per group, 8 bytes a lane
//   decode             a block of packed codes → Elements [group][token][4]
//   widen              int8 → Elements
//   Exact              the integer product with a register of query tokens
//   Cell               the same with a register of centroids; the elements are a query token's
//   Coarse<n>          the same with n registers of them and their high bytes alone; void where
//                      it wouldn't pay
//   set, load, store, plus, times, larger
// and a product has
//   kRegisters, kTile       of query tokens; tokens of a tile, from 4 to 8
//   Row, Sum                their values of one group; the running sum of one token
//   start, row, add, total  total returns floats, register by register

#pragma once

#include "kernel.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define RAG_TOOLS_INLINE __forceinline
#define RAG_TOOLS_APART __declspec(noinline)
#else
#define RAG_TOOLS_INLINE inline __attribute__((always_inline))
#define RAG_TOOLS_APART __attribute__((noinline))
#endif

namespace rag_tools {
namespace {

inline float from_half(uint16_t half) {
    // Exponent and mantissa fall into place with a bias that the multiplication corrects, also
    // for subnormals. Inverse norms are finite and positive.
    union {
        uint32_t bits;
        float value;
    } shifted = {static_cast<uint32_t>(half) << 13};
    return shifted.value * 5.192296858534828e33f;   // 2**112
}

// Lay a query out as bytes: per register, per group, the high bytes of its lanes, then the low.
template <int width>
inline void arrange_bytes(const int16_t* rows, int padded, int groups, void* arranged) {
    int8_t* out = static_cast<int8_t*>(arranged);
    for (int row = 0; row < padded; ++row) {
        for (int dim = 0; dim < groups * 4; ++dim) {
            const int value = rows[row * groups * 4 + dim];
            const ptrdiff_t start =
                ((static_cast<ptrdiff_t>(row / width) * groups + dim / 4) * 2) * 4 * width;
            out[start + (row % width) * 4 + dim % 4] = static_cast<int8_t>(high_byte(value));
            out[start + (width + row % width) * 4 + dim % 4] =
                static_cast<int8_t>(low_byte(value));
        }
    }
}

// Where vpdpbusd multiplies, the elements of a token are its values + 128, since it wants one
// operand unsigned. What to add to the sums of high and of low bytes to undo that.
inline void undo_offset(const int16_t* rows, int padded, int groups, int32_t* bias) {
    for (int row = 0; row < padded; ++row) {
        int32_t high = 0, low = 0;
        for (int dim = 0; dim < groups * 4; ++dim) {
            high += high_byte(rows[row * groups * 4 + dim]);
            low += low_byte(rows[row * groups * 4 + dim]);
        }
        bias[row] = -128 * high;
        bias[padded + row] = -128 * low;
    }
}
inline void widen_offset(const int8_t* values, int n, uint8_t* out, int padded) {
    for (int i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(values[i]) ^ 0x80;
    for (int i = n; i < padded; ++i) out[i] = 0x80;
}

// One tile of centroids.
struct Tile {
    const int8_t* values;
    const int32_t* sums;
    int groups;
};

// The first group of the lanes from `lane` on, and the bytes from there to the next group.
inline const char* first_row(const Query& query, int lane) {
    return static_cast<const char*>(query.rows) +
           static_cast<ptrdiff_t>(lane) * query.groups * kRowBytes;
}
inline int row_step(const Query&, int width) { return width * kRowBytes; }
inline const char* first_row(const Tile& tile, int lane) {
    return reinterpret_cast<const char*>(tile.values) + 4 * lane;
}
inline int row_step(const Tile&, int) { return 4 * kTileCells; }

// Multiply N tokens with the lanes of `query` from `lane` on; hand the products to `finish`.
// `query`: query tokens, or a tile of centroids, with which query tokens are multiplied alike.
template <class Isa, class Product, int N, class Lanes, class Finish>
RAG_TOOLS_INLINE void tile(const Lanes& query, int lane, const typename Isa::Element* tokens,
                           ptrdiff_t token_stride, ptrdiff_t group_stride, Finish& finish) {
    typename Product::Sum sums[N];
    for (int i = 0; i < N; ++i) sums[i] = Product::start(query, lane);
    const char* row = first_row(query, lane);
    for (int group = 0; group < query.groups; ++group) {
        const typename Product::Row values = Product::row(query, row);
        for (int i = 0; i < N; ++i) Product::add(sums[i], values, tokens + i * token_stride);
        row += row_step(query, Isa::kWidth);
        tokens += group_stride;
    }
    for (int i = 0; i < N; ++i)
        for (int r = 0; r < Product::kRegisters; ++r) finish(i, r, Product::total(sums[i], r));
}

template <class Isa, class Product, class Lanes, class Finish>
RAG_TOOLS_INLINE void tiles(const Lanes& query, int lane, const typename Isa::Element* tokens,
                            ptrdiff_t token_stride, ptrdiff_t group_stride, int n,
                            Finish& finish) {
    constexpr int kTile = Product::kTile;
    while (n >= kTile) {
        tile<Isa, Product, kTile>(query, lane, tokens, token_stride, group_stride, finish);
        finish.advance(kTile);
        tokens += kTile * token_stride;
        n -= kTile;
    }
    if constexpr (kTile > 4) {
        if (n & 4) {
            tile<Isa, Product, 4>(query, lane, tokens, token_stride, group_stride, finish);
            finish.advance(4);
            tokens += 4 * token_stride;
        }
    }
    if (n & 2) {
        tile<Isa, Product, 2>(query, lane, tokens, token_stride, group_stride, finish);
        finish.advance(2);
        tokens += 2 * token_stride;
    }
    if (n & 1) tile<Isa, Product, 1>(query, lane, tokens, token_stride, group_stride, finish);
}

// Scale the products with centroids and store them.
template <class Isa>
struct StoreCentroids {
    typename Isa::Floats query_scales;
    const float* scales;
    float* similarities;
    ptrdiff_t stride;

    RAG_TOOLS_INLINE void operator()(int i, int, typename Isa::Floats products) {
        Isa::store(similarities + i * stride,
                   Isa::times(Isa::times(products, query_scales), Isa::set(scales[i])));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        scales += n;
        similarities += n * stride;
    }
};

// Scale the products of query tokens with a tile, store them, and keep the largest.
template <class Isa>
struct StoreCells {
    const float* query_scales;
    typename Isa::Floats scales;
    float* similarities;
    float* largest;
    ptrdiff_t stride;
    ptrdiff_t largest_stride;

    RAG_TOOLS_INLINE void operator()(int i, int, typename Isa::Floats products) {
        const typename Isa::Floats similarity =
            Isa::times(Isa::times(products, Isa::set(query_scales[i])), scales);
        Isa::store(similarities + i * stride, similarity);
        float* most = largest + i * largest_stride;
        Isa::store(most, Isa::larger(Isa::load(most), similarity));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        query_scales += n;
        similarities += n * stride;
        largest += n * largest_stride;
    }
};

// What completes the residual products of the tokens of a block.
struct Block {
    const float* centroids[kBlockTokens];   // each token's row of the table
    float gains[kBlockTokens];
    float inverse_norms[kBlockTokens];
};

template <class Isa, int registers>
struct Complete {
    typename Isa::Floats query_scales[registers];
    const float* const* centroids;
    const float* gains;
    const float* inverse_norms;
    int lane;

    RAG_TOOLS_INLINE Complete(const Query& query, const Block& block, int lane, float unit)
        : centroids(block.centroids), gains(block.gains), inverse_norms(block.inverse_norms),
          lane(lane) {
        for (int r = 0; r < registers; ++r)
            query_scales[r] =
                Isa::times(Isa::load(query.scales + lane + r * Isa::kWidth), Isa::set(unit));
    }
    RAG_TOOLS_INLINE typename Isa::Floats similarity(int i, int r,
                                                     typename Isa::Floats products) const {
        const typename Isa::Floats residual =
            Isa::times(Isa::times(products, query_scales[r]), Isa::set(gains[i]));
        return Isa::times(
            Isa::plus(residual, Isa::load(centroids[i] + lane + r * Isa::kWidth)),
            Isa::set(inverse_norms[i]));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        centroids += n;
        gains += n;
        inverse_norms += n;
    }
};

template <class Isa, int registers>
struct KeepBest : Complete<Isa, registers> {
    typename Isa::Floats best[registers];

    RAG_TOOLS_INLINE KeepBest(const Query& query, const Block& block, int lane, float unit,
                              const float* from)
        : Complete<Isa, registers>(query, block, lane, unit) {
        for (int r = 0; r < registers; ++r) best[r] = Isa::load(from + lane + r * Isa::kWidth);
    }
    RAG_TOOLS_INLINE void operator()(int i, int r, typename Isa::Floats products) {
        best[r] = Isa::larger(best[r], this->similarity(i, r, products));
    }
    RAG_TOOLS_INLINE void store(float* to) const {
        for (int r = 0; r < registers; ++r)
            Isa::store(to + this->lane + r * Isa::kWidth, best[r]);
    }
};

template <class Isa>
struct StoreSimilarities : Complete<Isa, 1> {
    float* similarities;
    ptrdiff_t stride;

    RAG_TOOLS_INLINE StoreSimilarities(const Query& query, const Block& block, int lane,
                                       float* similarities)
        : Complete<Isa, 1>(query, block, lane, 1.0f), similarities(similarities + lane),
          stride(query.padded) {}
    RAG_TOOLS_INLINE void operator()(int i, int r, typename Isa::Floats products) {
        Isa::store(similarities + i * stride, this->similarity(i, r, products));
    }
    RAG_TOOLS_INLINE void advance(int n) {
        Complete<Isa, 1>::advance(n);
        similarities += n * stride;
    }
};

// Decodes blocks one at a time. Each is announced while the one before is computed with, so that
// what it needs is in the cache by then; it is decoded once where passages share it.
template <class Isa>
class Decoder {
  public:
    Decoder(const Query& query, const Tokens& tokens, const Table& table, void* scratch)
        : query_(query), tokens_(tokens), table_(table),
          elements_(static_cast<typename Isa::Element*>(scratch)) {}

    // The tokens from `first` to `last`, of one block, will be wanted next.
    RAG_TOOLS_INLINE void announce(int64_t first, int64_t last) {
        prefetch(first / kBlockTokens);
        Block& next = blocks_[1 - current_];
        for (int64_t token = first; token < last; ++token) {
            const ptrdiff_t centroid = static_cast<ptrdiff_t>(centroid_of(tokens_, token));
            const float* row =
                table_.scores + (table_.rows ? table_.rows[centroid] : centroid) * query_.padded;
            for (int lane = 0; lane < query_.padded; lane += 16) RAG_TOOLS_PREFETCH(row + lane);
            next.centroids[token - first] = row;
            next.gains[token - first] = tokens_.gains[token];
            next.inverse_norms[token - first] = from_half(tokens_.inverse_norms[token]);
        }
        first_ = first;
    }

    // Have the codes of a block brought into the cache.
    RAG_TOOLS_INLINE void prefetch(int64_t block) const {
        const int64_t bytes = static_cast<int64_t>(tokens_.layout.groups) * 64;
        if (block != decoded_)
            for (int64_t line = 0; line < bytes; line += 64)
                RAG_TOOLS_PREFETCH(tokens_.codes + block * bytes + line);
    }

    // Make what was announced current; return its first token.
    RAG_TOOLS_INLINE const typename Isa::Element* take() {
        current_ = 1 - current_;
        const int64_t block = first_ / kBlockTokens;
        if (block != decoded_) {
            decode(block);
            decoded_ = block;
        }
        return elements_ + (first_ % kBlockTokens) * 4;
    }

    const Block& current() const { return blocks_[current_]; }

  private:
    void decode(int64_t block) {
        const CodeLayout& layout = tokens_.layout;
        const uint8_t* codes = tokens_.codes + block * layout.groups * 64;
        decode(layout.leading_bits, codes, layout.leading_groups, tokens_.values, elements_);
        decode(layout.bits, codes + layout.leading_groups * 64,
               layout.groups - layout.leading_groups, tokens_.values + kValues,
               elements_ + layout.leading * kBlockTokens);
    }

    static void decode(int bits, const uint8_t* codes, int groups, const int8_t* values,
                       typename Isa::Element* elements) {
        if (bits == 4)
            Isa::template decode<4>(codes, groups, values, elements);
        else if (bits == 2)
            Isa::template decode<2>(codes, groups, values, elements);
        else
            Isa::template decode<1>(codes, groups, values, elements);
    }

    const Query& query_;
    const Tokens& tokens_;
    const Table& table_;
    typename Isa::Element* elements_;
    int64_t first_ = 0;
    int64_t decoded_ = -1;
    int current_ = 0;
    Block blocks_[2];
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
                tiles<Isa, typename Isa::Exact>(query, lane, elements, dim, 4, count, finish);
            }
        }
    }

    static void all_centroids(const ByteQuery& query, const Tiles& centroids, int64_t first,
                              int64_t last, void* scratch, const CellScores& scores) {
        const int dim = centroids.groups * 4;
        Element* elements = static_cast<Element*>(scratch);   // [query token][dim]
        for (int i = 0; i < query.n; ++i)
            Isa::widen(query.values + i * dim, dim, elements + i * dim, dim);
        const ptrdiff_t largest_stride = centroids.n_chunks * kTileCells;
        const ptrdiff_t stride = largest_stride * kChunkTiles;
        for (int64_t chunk = first; chunk < last; ++chunk) {
            float* largest = scores.largest + chunk * kTileCells;
            for (int i = 0; i < query.n; ++i)
                for (int lane = 0; lane < kTileCells; ++lane)
                    largest[i * largest_stride + lane] = -1e30f;
            for (int64_t at = chunk * kChunkTiles; at < (chunk + 1) * kChunkTiles; ++at) {
                const Tile tile = {centroids.values + at * centroids.groups * 4 * kTileCells,
                                   centroids.sums + at * kTileCells, centroids.groups};
                for (int lane = 0; lane < kTileCells; lane += Isa::kWidth) {
                    StoreCells<Isa> finish = {
                        query.scales,
                        Isa::load(centroids.scales + at * kTileCells + lane),
                        scores.similarities + at * kTileCells + lane,
                        largest + lane,
                        stride,
                        largest_stride};
                    tiles<Isa, typename Isa::Cell>(tile, lane, elements, dim, 4, query.n, finish);
                }
            }
        }
    }

    static float border(const float* values, int64_t n, int64_t wanted) {
        float high = largest(values, n);
        // From the largest downwards in growing steps, then by halves.
        float step = (high < 0 ? -high : high) / 16 + 1e-30f, low = high - step;
        while (low > -1e30f && count(values, n, low) < wanted) {
            high = low;
            step *= 2;
            low = high - step;
        }
        for (int i = 0; i < 10; ++i) {
            const float middle = low + (high - low) / 2;
            const int64_t reached = count(values, n, middle);
            (reached < wanted ? high : low) = middle;
            if (reached >= wanted && reached <= wanted + wanted / 8) break;
        }
        return low;
    }

    static void maxsim(const Query& query, const Tokens& tokens, const Table& table,
                       const float* weights, const int64_t* token_offsets,
                       const int64_t* positions, int64_t n, const Error&, void* scratch,
                       float* best, float* scores, float*) {
        const auto keep = [&](int count, const Element* elements, const Block& block) {
            for (int lane = 0; lane < query.padded; lane += Isa::kWidth)
                keep_best<typename Isa::Exact>(query, lane, 1.0f, elements, count, block, best);
        };
        score(query, tokens, table, weights, token_offsets, positions, n, scratch, best, scores,
              keep);
    }

    static void coarse(const Query& query, const Tokens& tokens, const Table& table,
                       const float* weights, const int64_t* token_offsets,
                       const int64_t* positions, int64_t n, const Error& error, void* scratch,
                       float* best, float* scores, float* errors) {
        const auto keep = [&](int count, const Element* elements, const Block& block) {
            int lane = 0;
            for (; lane + 2 * Isa::kWidth <= query.padded; lane += 2 * Isa::kWidth)
                keep_best<typename Isa::template Coarse<2>>(query, lane, kHigh, elements, count,
                                                            block, best);
            if (lane < query.padded)
                keep_best<typename Isa::template Coarse<1>>(query, lane, kHigh, elements, count,
                                                            block, best);
        };
        score(query, tokens, table, weights, token_offsets, positions, n, scratch, best, scores,
              keep);
        for (int64_t passage = 0; passage < n; ++passage) {
            float largest = 0;
            for (int64_t token = token_offsets[positions[passage]];
                 token < token_offsets[positions[passage] + 1]; ++token) {
                const float of_token = from_half(tokens.inverse_norms[token]) *
                                       (error.centroid + error.residual * tokens.gains[token]);
                largest = largest < of_token ? of_token : largest;
            }
            errors[passage] = largest;
        }
    }

    static void similarities(const Query& query, const Tokens& tokens, const Table& table,
                             int64_t first, int64_t last, void* scratch, float* similarities) {
        Decoder<Isa> decoder(query, tokens, table, scratch);
        for (int64_t token = first; token < last; token = end_of_block(token, last)) {
            const int64_t end = end_of_block(token, last);
            decoder.announce(token, end);
            const Element* elements = decoder.take();
            for (int lane = 0; lane < query.padded; lane += Isa::kWidth) {
                StoreSimilarities<Isa> finish(query, decoder.current(), lane,
                                              similarities + (token - first) * query.padded);
                tiles<Isa, typename Isa::Exact>(query, lane, elements, 4, 4 * kBlockTokens,
                                                static_cast<int>(end - token), finish);
            }
        }
    }

    // A constant expression: the compiler evaluates it, and no code of it is left.
    static constexpr Kernel table() {
        ScorePassages some = nullptr;
        if constexpr (Isa::kCoarse) some = coarse;
        return {Isa::kName, Isa::arrange, centroids,    all_centroids,
                maxsim,     some,         similarities, border};
    }

  private:
    static int64_t count(const float* values, int64_t n, float border) {
        int found = 0;   // the compiler makes registers of it
        for (int64_t i = 0; i < n; ++i) found += values[i] >= border;
        return found;
    }

    static float largest(const float* values, int64_t n) {
        constexpr int kSums = 4;   // hide the latency
        typename Isa::Floats most[kSums];
        for (auto& each : most) each = Isa::set(values[0]);
        int64_t i = 0;
        for (; i + kSums * Isa::kWidth <= n; i += kSums * Isa::kWidth)
            for (int k = 0; k < kSums; ++k)
                most[k] = Isa::larger(most[k], Isa::load(values + i + k * Isa::kWidth));
        float lanes[Isa::kWidth];
        Isa::store(lanes, Isa::larger(Isa::larger(most[0], most[1]),
                                      Isa::larger(most[2], most[3])));
        float found = lanes[0];
        for (const float lane : lanes) found = found < lane ? lane : found;
        for (; i < n; ++i) found = found < values[i] ? values[i] : found;
        return found;
    }

    // Raise `best` to the similarities of `count` tokens. `unit`: of the products. Not inlined:
    // among everything else GCC 12 runs out of registers (measured 1.3 times the time).
    template <class Product>
    RAG_TOOLS_APART static void keep_best(const Query& query, int lane, float unit,
                                           const Element* elements, int count, const Block& block,
                                           float* best) {
        KeepBest<Isa, Product::kRegisters> finish(query, block, lane, unit, best);
        tiles<Isa, Product>(query, lane, elements, 4, 4 * kBlockTokens, count, finish);
        finish.store(best);
    }

    // Score passages; `keep` raises `best` to the similarities of the tokens of a block.
    template <class Keep>
    RAG_TOOLS_INLINE static void score(const Query& query, const Tokens& tokens,
                                       const Table& table, const float* weights,
                                       const int64_t* token_offsets, const int64_t* positions,
                                       int64_t n, void* scratch, float* best, float* scores,
                                       const Keep& keep) {
        Decoder<Isa> decoder(query, tokens, table, scratch);
        const auto announce = [&](int64_t token, int64_t last) {
            decoder.announce(token, end_of_block(token, last));
        };
        const auto announce_passage = [&](int64_t passage) {
            while (passage < n &&
                   token_offsets[positions[passage]] == token_offsets[positions[passage] + 1])
                ++passage;
            if (passage < n)
                announce(token_offsets[positions[passage]],
                         token_offsets[positions[passage] + 1]);
        };
        announce_passage(0);
        for (int64_t passage = 0; passage < n; ++passage) {
            int64_t token = token_offsets[positions[passage]];
            const int64_t last = token_offsets[positions[passage] + 1];
            for (int lane = 0; lane < query.padded; ++lane) best[lane] = -1e30f;
            while (token < last) {
                const int64_t end = end_of_block(token, last);
                const Element* elements = decoder.take();
                if (end < last)
                    announce(end, last);
                else
                    announce_passage(passage + 1);
                keep(static_cast<int>(end - token), elements, decoder.current());
                token = end;
            }
            float sum = 0;
            for (int row = 0; row < query.n; ++row) sum += weights[row] * best[row];
            scores[passage] = sum;
        }
    }
};

}  // namespace
}  // namespace rag_tools
