// AVX2: Haswell, Zen and later.
//
// vpmaddubsw would saturate, so values are 16 bits wide and vpmaddwd multiplies: exact, and a
// coarse query would cost as much.

#include "kernel.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>
#include <string.h>

#include "cpu.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2")
#endif

#include "stages.h"

namespace rag_tools {
namespace {

struct Avx2 {
    static constexpr int kWidth = 8;
    using Element = int16_t;
    using Floats = __m256;
    static constexpr bool kCoarse = false;

    static void arrange(const int16_t* rows, int padded, int groups, void* arranged,
                        int32_t* bias) {
        int16_t* out = static_cast<int16_t*>(arranged);
        for (int row = 0; row < padded; ++row) {
            for (int dim = 0; dim < groups * 4; ++dim) {
                const ptrdiff_t start =
                    (static_cast<ptrdiff_t>(row / kWidth) * groups + dim / 4) * 4 * kWidth;
                out[start + (dim % 4 / 2 * kWidth + row % kWidth) * 2 + dim % 2] =
                    rows[row * groups * 4 + dim];
            }
        }
        for (int row = 0; row < 2 * padded; ++row) bias[row] = 0;
    }

    template <int bits>
    RAG_TOOLS_INLINE static void decode(const uint8_t* codes, int packed_groups,
                                        const int8_t* values, Element* out) {
        const __m256i table = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
        const __m256i mask = _mm256_set1_epi8(static_cast<char>((1 << bits) - 1));
        for (int group = 0; group < packed_groups; ++group) {
            for (int shift = 0; shift < 8; shift += bits) {
                for (int half = 0; half < 2; ++half) {
                    const __m256i packed = _mm256_loadu_si256(
                        reinterpret_cast<const __m256i*>(codes + group * 64 + half * 32));
                    const __m256i code =
                        _mm256_and_si256(_mm256_srli_epi16(packed, shift), mask);
                    const __m256i value = _mm256_shuffle_epi8(table, code);
                    __m256i* at = reinterpret_cast<__m256i*>(out);
                    _mm256_storeu_si256(at, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(value)));
                    _mm256_storeu_si256(at + 1,
                                        _mm256_cvtepi8_epi16(_mm256_extracti128_si256(value, 1)));
                    out += 32;
                }
            }
        }
    }

    static void widen(const int8_t* values, int n, Element* out, int padded) {
        for (int i = 0; i < n; ++i) out[i] = values[i];
        for (int i = n; i < padded; ++i) out[i] = 0;
    }

    struct Exact {
        static constexpr int kRegisters = 1;
        struct Row {
            __m256i first, second;   // two dimensions of every lane each
        };
        using Sum = __m256i;
        RAG_TOOLS_INLINE static Sum start(const Query&, int) { return _mm256_setzero_si256(); }
        RAG_TOOLS_INLINE static Row row(const Query&, const char* at) {
            const __m256i* rows = reinterpret_cast<const __m256i*>(at);
            return {_mm256_loadu_si256(rows), _mm256_loadu_si256(rows + 1)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            int32_t first, second;
            memcpy(&first, token, 4);
            memcpy(&second, token + 2, 4);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(row.first, _mm256_set1_epi32(first)));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(row.second, _mm256_set1_epi32(second)));
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) {
            return _mm256_cvtepi32_ps(sum);
        }
    };

    struct Cell : Exact {
        RAG_TOOLS_INLINE static Sum start(const Tile&, int) { return _mm256_setzero_si256(); }
        RAG_TOOLS_INLINE static Row row(const Tile&, const char* at) {
            // Each byte becomes the high one of 16 bits, and is shifted down with its sign.
            const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
            const __m256i first = _mm256_setr_epi8(
                -1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13,
                -1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
            const __m256i second = _mm256_setr_epi8(
                -1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15,
                -1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
            return {_mm256_srai_epi16(_mm256_shuffle_epi8(bytes, first), 8),
                    _mm256_srai_epi16(_mm256_shuffle_epi8(bytes, second), 8)};
        }
    };

    RAG_TOOLS_INLINE static Floats set(float value) { return _mm256_set1_ps(value); }
    RAG_TOOLS_INLINE static Floats load(const float* at) { return _mm256_loadu_ps(at); }
    RAG_TOOLS_INLINE static void store(float* at, Floats a) { _mm256_storeu_ps(at, a); }
    RAG_TOOLS_INLINE static Floats plus(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    RAG_TOOLS_INLINE static Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    RAG_TOOLS_INLINE static Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
};

}  // namespace

const Kernel* avx2_kernel() {
    static const Kernel kernel = Stages<Avx2>::kernel("avx2", cpu_has_avx2);
    return &kernel;
}

}  // namespace rag_tools

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

const rag_tools::Kernel* rag_tools::avx2_kernel() { return nullptr; }

#endif
