// AVX-VNNI, the neural-network instructions on 256 bits: Alder Lake and later, Zen 5.

#include "tables.h"

// GCC before 11, Clang before 12 and Visual Studio before 2022 don't know the instructions.
#if (defined(__x86_64__) || defined(_M_X64)) && \
    (__clang_major__ >= 12 || (__GNUC__ >= 11 && !defined(__clang__)) || _MSC_VER >= 1930)

#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,avxvnni"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,avxvnni")
#endif

#include "lanes256.h"

namespace rag_tools {
namespace {

// See avx512vnni.cpp: GCC copies sums of the other type from register to register.
#if defined(__GNUC__)
typedef int32_t Integers __attribute__((vector_size(32)));
#else
typedef __m256i Integers;
#endif

struct AvxVnni : Lanes256 {
    static constexpr const char* kName = "avxvnni";
    using Element = uint8_t;   // value + 128: vpdpbusd wants one operand unsigned
    static constexpr bool kCoarse = true;

    static void arrange(const int16_t* rows, int padded, int groups, void* arranged,
                        int32_t* bias) {
        arrange_bytes<kWidth>(rows, padded, groups, arranged);
        undo_offset(rows, padded, groups, bias);
    }

    template <int bits>
    RAG_TOOLS_INLINE static void decode(const uint8_t* packed, int packed_groups,
                                        const int8_t* values, Element* out) {
        const __m256i table = _mm256_xor_si256(repeat(values), set_bytes(-128));
        for (int group = 0; group < packed_groups; ++group) {
            const __m256i first = load_bytes(packed + group * 64);
            const __m256i second = load_bytes(packed + group * 64 + 32);
            for (int shift = 0; shift < 8; shift += bits) {
                store_bytes(out, shuffle(table, codes(first, shift, bits)));
                store_bytes(out + 32, shuffle(table, codes(second, shift, bits)));
                out += 64;
            }
        }
    }

    static void widen(const int8_t* values, int n, Element* out, int padded) {
        widen_offset(values, n, out, padded);
    }

    RAG_TOOLS_INLINE static void add(Integers& sum, const __m256i& row, const __m256i& four) {
        sum = (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, four, row);
    }
    RAG_TOOLS_INLINE static __m256i four(const Element* token) {
        int32_t bytes;
        memcpy(&bytes, token, 4);
        return set_integers(bytes);
    }

    // Sixteen registers: six tokens have twelve sums, beside two registers of the query and one
    // of the token.
    struct Exact {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 6;
        struct Row {
            __m256i high, low;
        };
        struct Sum {
            Integers high, low;
        };
        RAG_TOOLS_INLINE static Sum start(const Query& query, int lane) {
            return {(Integers)load_bytes(query.bias + lane),
                    (Integers)load_bytes(query.bias + query.padded + lane)};
        }
        RAG_TOOLS_INLINE static Row row(const Query&, const char* at) {
            return {load_bytes(at), load_bytes(at + 32)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            const __m256i bytes = four(token);
            AvxVnni::add(sum.high, row.high, bytes);
            AvxVnni::add(sum.low, row.low, bytes);
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) {
            return floats(
                _mm256_add_epi32(_mm256_slli_epi32((__m256i)sum.high, 7), (__m256i)sum.low));
        }
    };

    struct Cell {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        using Row = __m256i;
        using Sum = Integers;
        RAG_TOOLS_INLINE static Sum start(const Tile& tile, int lane) {
            return (Integers)_mm256_mullo_epi32(load_bytes(tile.sums + lane),
                                                _mm256_set1_epi32(-128));
        }
        RAG_TOOLS_INLINE static Row row(const Tile&, const char* at) { return load_bytes(at); }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            AvxVnni::add(sum, row, four(token));
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) {
            return floats((__m256i)sum);
        }
    };

    // Of one register the second is unused. (GCC keeps an array of registers in memory.)
    template <int registers>
    struct Coarse {
        static constexpr int kRegisters = registers;
        static constexpr int kTile = registers == 2 ? 6 : 8;
        struct Row {
            __m256i first, second;
        };
        struct Sum {
            Integers first, second;
        };
        RAG_TOOLS_INLINE static Sum start(const Query& query, int lane) {
            const int32_t* bias = query.bias + lane;
            return {(Integers)load_bytes(bias),
                    (Integers)load_bytes(bias + (registers - 1) * kWidth)};
        }
        RAG_TOOLS_INLINE static Row row(const Query& query, const char* at) {
            const ptrdiff_t next = static_cast<ptrdiff_t>(query.groups) * kWidth * kRowBytes;
            return {load_bytes(at), load_bytes(at + (registers - 1) * next)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            const __m256i bytes = four(token);
            AvxVnni::add(sum.first, row.first, bytes);
            if (registers == 2) AvxVnni::add(sum.second, row.second, bytes);
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int r) {
            return floats((__m256i)(r ? sum.second : sum.first));
        }
    };
};

}  // namespace

constexpr Kernel kAvxVnni = Stages<AvxVnni>::table();

}  // namespace rag_tools

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

constexpr rag_tools::Kernel rag_tools::kAvxVnni = {};

#endif
