// SSE4.1: every x86 processor since about 2010 that hasn't got AVX2, small ones of today among
// them.

#include "tables.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <smmintrin.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("sse4.1"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("sse4.1")
#endif

#include "pairs.h"

namespace rag_tools {
namespace {

// As Lanes256, on 128 bits.
struct Lanes128 {
    static constexpr int kWidth = 4;
    using Bytes = __m128i;
    using Floats = __m128;

    RAG_TOOLS_INLINE static Bytes load_bytes(const void* at) {
        return _mm_loadu_si128(static_cast<const __m128i*>(at));
    }
    RAG_TOOLS_INLINE static void store_bytes(void* at, Bytes bytes) {
        _mm_storeu_si128(static_cast<__m128i*>(at), bytes);
    }
    RAG_TOOLS_INLINE static Bytes repeat(const void* at) { return load_bytes(at); }
    RAG_TOOLS_INLINE static Bytes set_integers(int32_t value) { return _mm_set1_epi32(value); }
    RAG_TOOLS_INLINE static Bytes shuffle(Bytes table, Bytes places) {
        return _mm_shuffle_epi8(table, places);
    }
    RAG_TOOLS_INLINE static Bytes codes(Bytes packed, int shift, int bits) {
        return _mm_and_si128(_mm_srli_epi16(packed, shift),
                             _mm_set1_epi8(static_cast<char>((1 << bits) - 1)));
    }
    RAG_TOOLS_INLINE static void store_wide(int16_t* at, Bytes bytes) {
        store_bytes(at, _mm_cvtepi8_epi16(bytes));
        store_bytes(at + 8, _mm_cvtepi8_epi16(_mm_srli_si128(bytes, 8)));
    }
    RAG_TOOLS_INLINE static Bytes high_bytes(Bytes pairs) { return _mm_srai_epi16(pairs, 8); }
    RAG_TOOLS_INLINE static void add_pairs(Bytes& sum, Bytes a, Bytes b) {
        sum = _mm_add_epi32(sum, _mm_madd_epi16(a, b));
    }
    RAG_TOOLS_INLINE static Floats floats(Bytes integers) { return _mm_cvtepi32_ps(integers); }

    RAG_TOOLS_INLINE static Floats set(float value) { return _mm_set1_ps(value); }
    RAG_TOOLS_INLINE static Floats load(const float* at) { return _mm_loadu_ps(at); }
    RAG_TOOLS_INLINE static void store(float* at, Floats a) { _mm_storeu_ps(at, a); }
    RAG_TOOLS_INLINE static Floats plus(Floats a, Floats b) { return _mm_add_ps(a, b); }
    RAG_TOOLS_INLINE static Floats times(Floats a, Floats b) { return _mm_mul_ps(a, b); }
    RAG_TOOLS_INLINE static Floats larger(Floats a, Floats b) { return _mm_max_ps(a, b); }
};

struct Sse41 : Pairs<Lanes128> {
    static constexpr const char* kName = "sse41";
};

}  // namespace

constexpr Kernel kSse41 = Stages<Sse41>::table();

}  // namespace rag_tools

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

constexpr rag_tools::Kernel rag_tools::kSse41 = {};

#endif
