// What a kernel is: the arithmetic of MaxSim on one instruction set, behind plain pointers.
//
// Every kernel computes the same integers and does the same float operations in the same order,
// so all return the same bits. Files: stages.h holds the stages once, as templates over an
// instruction set; avx512vnni.cpp, avxvnni.cpp, avx2.cpp, sse41.cpp, neon.cpp and scalar.cpp each
// supply one; dispatch.cpp chooses among them; search.cpp drives them; module.cpp is what Python
// sees.
//
// The files of an instruction set share nothing with the others but this header. Every function in them has internal linkage: a linker that merged copies of one function
// could otherwise keep the copy that only some processors can run.

#pragma once

#include <cstddef>
#include <cstdint>

#if defined(_MSC_VER) && !defined(__clang__)
#define RAG_TOOLS_PREFETCH(address) static_cast<void>(address)
#else
#define RAG_TOOLS_PREFETCH(address) __builtin_prefetch(address)
#endif

namespace rag_tools {

constexpr int kBlockTokens = 16;   // residual.BLOCK_TOKENS
constexpr int kLanes = 16;         // query tokens are padded to a multiple of the widest register
constexpr int kQueryMax = 16256;   // 127 * 128: a query value is two signed bytes, 7 bits apart
constexpr int kMaxDim = 1024;      // up to here a sum of kQueryMax * 127 fits 32 bits

// A query value is kHigh times its high byte plus its low byte, both signed; the low byte is
// within kHigh / 2 of zero. High bytes alone are a coarse query, at half the arithmetic.
constexpr int kHigh = 128;
namespace {
inline int high_byte(int value) { return (value + kHigh / 2) >> 7; }
inline int low_byte(int value) { return value - kHigh * high_byte(value); }
}  // namespace

constexpr int kRowBytes = 8;   // of a query token, per group

constexpr int kValues = 16;   // of a table; there are two, of the leading dimensions and of the others

// How the codes of a block are laid out: those of the leading dimensions, with twice the bits, and
// those of the others. See residual.parts and residual.pack.
struct CodeLayout {
    int bits;             // of the others
    int leading_bits;
    int leading;          // dimensions
    int leading_groups;   // of 64 bytes
    int groups;           // of all

    static CodeLayout of(int dim, int bits) {
        const int leading_bits = bits < 4 ? 2 * bits : 4;
        const int leading = bits < 4 ? dim * leading_bits / 128 * 32 / leading_bits : 0;
        const int leading_groups = leading * leading_bits / 32;
        return {bits, leading_bits, leading, leading_groups,
                leading_groups + ((dim - leading) * bits + 31) / 32};
    }
    // Dimensions, padded.
    int padded() const { return leading + (groups - leading_groups) * 32 / bits; }
};

// Query tokens as integers, one float scale each.
struct Query {
    int n;                 // query tokens
    int padded;            // n, up to a multiple of kLanes; the rest is zero
    int groups;            // dimensions / 4, padded like the codes
    const void* rows;      // padded * groups * 8 bytes, in the order the kernel arranged
    const int32_t* bias;   // (2, padded): what the kernel adds to sums of high and of low bytes
    const float* scales;   // (padded)
};

// Query tokens in one byte a value, one float scale each.
struct ByteQuery {
    int n;
    const int8_t* values;   // (n, groups * 4)
    const float* scales;    // (n)
};

struct Centroids {
    const int8_t* quantized;   // (n, dim)
    const float* scales;       // (n)
    int64_t n;
    int dim;
};

constexpr int kTileCells = 16;    // the widest register
constexpr int kChunkTiles = 8;    // tiles of which the largest similarities are kept

// Centroids in tiles, where lanes of a register are centroids: for gather, which scores all of them
// and then looks at one query token after the other. A lane of a chunk has centroids that follow
// each other, mostly of one vocabulary token: if one of them is near, so are others. Chunks are
// whole; the rest is zero.
struct Tiles {
    const int8_t* values;   // (n_tiles, groups, 64): at [4 * lane + j] value 4 * group + j
    const int32_t* sums;    // (n_tiles, 16): of the values of each centroid
    const float* scales;    // (n_tiles, 16)
    int64_t n_chunks;
    int groups;             // dimensions / 4
};

// Similarities of every query token to every centroid of the tiles.
struct CellScores {
    float* similarities;   // (n query tokens, n_chunks * 128)
    float* largest;        // (n query tokens, n_chunks * 16): of every lane of a chunk
};

// The tokens of a segment.
struct Tokens {
    const uint8_t* codes;            // (n_blocks, layout.groups, 64)
    const void* centroids;           // (n_tokens) of uint16 or uint32
    const uint8_t* gains;            // (n_tokens), of the residuals
    const uint16_t* inverse_norms;   // (n_tokens), float16
    const int8_t* values;            // (2, kValues), the codec's tables
    CodeLayout layout;
    bool wide;                       // centroids are uint32
};

namespace {
inline uint32_t centroid_of(const Tokens& tokens, int64_t token) {
    return tokens.wide ? static_cast<const uint32_t*>(tokens.centroids)[token]
                       : static_cast<const uint16_t*>(tokens.centroids)[token];
}
}  // namespace

// Similarities of every query token to some centroids.
struct Table {
    const float* scores;    // (n_rows, Query::padded)
    const int32_t* rows;    // (Centroids::n): the row of each centroid; null: its own number
};

// Of a score: by how much it may be off per inverse norm, and per gain and inverse norm.
struct Error {
    float centroid;
    float residual;
};

// Computes the weighted MaxSim of `n` passages. `scratch` holds a block of 16 tokens: groups * 128
// bytes; `best` is (padded). `errors`: how far the score of each passage may be off if that of a
// token may be by `error`; exact scores need none and leave it alone.
using ScorePassages = void (*)(const Query&, const Tokens&, const Table&, const float* weights,
                               const int64_t* token_offsets, const int64_t* positions, int64_t n,
                               const Error& error, void* scratch, float* best, float* scores,
                               float* errors);

// Computes the similarities of all query tokens to `n` centroids: (n, padded). `scratch` as above.
using ScoreCentroids = void (*)(const Query&, const Centroids&, const uint32_t* chosen, int64_t n,
                                void* scratch, float* similarities);

// Computes the scores of the chunks from `first` to `last`. `scratch`: groups * 8 bytes for each
// query token.
using ScoreTiles = void (*)(const ByteQuery&, const Tiles&, int64_t first, int64_t last,
                            void* scratch, const CellScores&);

// The functions of one instruction set.
struct Kernel {
    const char* name;

    // Lay out the query: `rows` is (padded, groups * 4).
    void (*arrange)(const int16_t* rows, int padded, int groups, void* arranged, int32_t* bias);

    // Similarities to centroids: to some with all of the query, to all with a byte a value. For a
    // query that fits bytes they are the same to the last bit.
    ScoreCentroids centroids;
    ScoreTiles tiles;

    // With all of the query, and with its high bytes alone: null where that wouldn't pay, as on
    // instruction sets that multiply 16-bit values anyway.
    ScorePassages maxsim;
    ScorePassages coarse;

    // Similarities to the tokens from `first` to `last`: (last - first, padded).
    void (*similarities)(const Query&, const Tokens&, const Table&, int64_t first, int64_t last,
                         void* scratch, float* similarities);

    // A border that at least `wanted` of `n` values reach, and not many more if they differ.
    float (*border)(const float* values, int64_t n, int64_t wanted);
};

}  // namespace rag_tools
