// AVX-512 with vector neural-network instructions: Ice Lake, Zen 4 and later.

#include "tables.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512bw,avx512vnni")
// GCC 12 warns of the undefined registers in its own header.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "stages.h"

namespace rag_tools {
namespace {

// GCC copies a sum from register to register at every multiply if it is kept as __m512i, which
// is eight 64-bit integers to it: measured 1.5 times the time.
#if defined(__GNUC__)
typedef int32_t Integers __attribute__((vector_size(64)));
#else
typedef __m512i Integers;
#endif

struct Avx512Vnni {
    static constexpr const char* kName = "avx512vnni";
    static constexpr int kWidth = 16;
    using Element = uint8_t;   // value + 128: vpdpbusd wants one operand unsigned
    using Floats = __m512;
    static constexpr bool kCoarse = true;

    static void arrange(const int16_t* rows, int padded, int groups, void* arranged,
                        int32_t* bias) {
        arrange_bytes<kWidth>(rows, padded, groups, arranged);
        undo_offset(rows, padded, groups, bias);
    }

    template <int bits>
    RAG_TOOLS_INLINE static void decode(const uint8_t* codes, int packed_groups,
                                        const int8_t* values, Element* out) {
        const __m512i table = _mm512_xor_si512(
            _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values))),
            _mm512_set1_epi8(-128));
        const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << bits) - 1));
        for (int group = 0; group < packed_groups; ++group) {
            const __m512i packed = _mm512_loadu_si512(codes + group * 64);
            for (int shift = 0; shift < 8; shift += bits) {
                const __m512i code =
                    _mm512_and_si512(_mm512_srli_epi16(packed, shift), mask);
                _mm512_storeu_si512(out, _mm512_shuffle_epi8(table, code));
                out += 64;
            }
        }
    }

    static void widen(const int8_t* values, int n, Element* out, int padded) {
        widen_offset(values, n, out, padded);
    }

    RAG_TOOLS_INLINE static void add(Integers& sum, const __m512i& row, const __m512i& four) {
        sum = (Integers)_mm512_dpbusd_epi32((__m512i)sum, four, row);
    }
    RAG_TOOLS_INLINE static __m512i four(const Element* token) {
        int32_t bytes;
        memcpy(&bytes, token, 4);
        return _mm512_set1_epi32(bytes);
    }

    struct Exact {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        struct Row {
            __m512i high, low;
        };
        struct Sum {
            Integers high, low;
        };
        RAG_TOOLS_INLINE static Sum start(const Query& query, int lane) {
            return {(Integers)_mm512_loadu_si512(query.bias + lane),
                    (Integers)_mm512_loadu_si512(query.bias + query.padded + lane)};
        }
        RAG_TOOLS_INLINE static Row row(const Query&, const char* at) {
            return {_mm512_loadu_si512(at), _mm512_loadu_si512(at + 64)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            const __m512i bytes = four(token);
            Avx512Vnni::add(sum.high, row.high, bytes);
            Avx512Vnni::add(sum.low, row.low, bytes);
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) {
            return _mm512_cvtepi32_ps(
                _mm512_add_epi32(_mm512_slli_epi32((__m512i)sum.high, 7), (__m512i)sum.low));
        }
    };

    struct Cell {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        using Row = __m512i;
        using Sum = Integers;
        RAG_TOOLS_INLINE static Sum start(const Tile& tile, int) {
            return (Integers)_mm512_mullo_epi32(_mm512_loadu_si512(tile.sums),
                                                _mm512_set1_epi32(-128));
        }
        RAG_TOOLS_INLINE static Row row(const Tile&, const char* at) {
            return _mm512_loadu_si512(at);
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            Avx512Vnni::add(sum, row, four(token));
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) {
            return _mm512_cvtepi32_ps((__m512i)sum);
        }
    };

    // Of one register the second is unused. (GCC keeps an array of registers in memory.)
    template <int registers>
    struct Coarse {
        static constexpr int kRegisters = registers;
        static constexpr int kTile = 8;
        struct Row {
            __m512i first, second;
        };
        struct Sum {
            Integers first, second;
        };
        RAG_TOOLS_INLINE static Sum start(const Query& query, int lane) {
            const int32_t* bias = query.bias + lane;
            return {(Integers)_mm512_loadu_si512(bias),
                    (Integers)_mm512_loadu_si512(bias + (registers - 1) * kWidth)};
        }
        RAG_TOOLS_INLINE static Row row(const Query& query, const char* at) {
            const ptrdiff_t next = static_cast<ptrdiff_t>(query.groups) * kWidth * kRowBytes;
            return {_mm512_loadu_si512(at), _mm512_loadu_si512(at + (registers - 1) * next)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            const __m512i bytes = four(token);
            Avx512Vnni::add(sum.first, row.first, bytes);
            if (registers == 2) Avx512Vnni::add(sum.second, row.second, bytes);
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int r) {
            return _mm512_cvtepi32_ps((__m512i)(r ? sum.second : sum.first));
        }
    };

    RAG_TOOLS_INLINE static Floats set(float value) { return _mm512_set1_ps(value); }
    RAG_TOOLS_INLINE static Floats load(const float* at) { return _mm512_loadu_ps(at); }
    RAG_TOOLS_INLINE static void store(float* at, Floats a) { _mm512_storeu_ps(at, a); }
    RAG_TOOLS_INLINE static Floats plus(Floats a, Floats b) { return _mm512_add_ps(a, b); }
    RAG_TOOLS_INLINE static Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    RAG_TOOLS_INLINE static Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
};

}  // namespace

constexpr Kernel kAvx512Vnni = Stages<Avx512Vnni>::table();

}  // namespace rag_tools

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

constexpr rag_tools::Kernel rag_tools::kAvx512Vnni = {};

#endif
