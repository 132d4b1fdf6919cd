// Registers of 256 bits, for the instruction sets that have them. Included like stages.h, after
// the pragma that enables one of them.

#pragma once

#include <immintrin.h>

#include "stages.h"

namespace rag_tools {
namespace {

struct Lanes256 {
    static constexpr int kWidth = 8;
    using Bytes = __m256i;
    using Floats = __m256;

    RAG_TOOLS_INLINE static Bytes load_bytes(const void* at) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(at));
    }
    RAG_TOOLS_INLINE static void store_bytes(void* at, Bytes bytes) {
        _mm256_storeu_si256(static_cast<__m256i*>(at), bytes);
    }
    // Sixteen bytes, in each half of the register: what `shuffle` looks up.
    RAG_TOOLS_INLINE static Bytes repeat(const void* at) {
        return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(at)));
    }
    RAG_TOOLS_INLINE static Bytes set_bytes(int value) {
        return _mm256_set1_epi8(static_cast<char>(value));
    }
    RAG_TOOLS_INLINE static Bytes set_integers(int32_t value) { return _mm256_set1_epi32(value); }
    RAG_TOOLS_INLINE static Bytes shuffle(Bytes table, Bytes places) {
        return _mm256_shuffle_epi8(table, places);
    }
    // The low `bits` bits of every byte, after a shift to the right.
    RAG_TOOLS_INLINE static Bytes codes(Bytes packed, int shift, int bits) {
        return _mm256_and_si256(_mm256_srli_epi16(packed, shift), set_bytes((1 << bits) - 1));
    }
    // Bytes as 16-bit numbers, in order.
    RAG_TOOLS_INLINE static void store_wide(int16_t* at, Bytes bytes) {
        store_bytes(at, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)));
        store_bytes(at + 16, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(bytes, 1)));
    }
    // The high byte of every 16 bits, with its sign.
    RAG_TOOLS_INLINE static Bytes high_bytes(Bytes pairs) { return _mm256_srai_epi16(pairs, 8); }
    // Add the products of pairs of 16-bit numbers.
    RAG_TOOLS_INLINE static void add_pairs(Bytes& sum, Bytes a, Bytes b) {
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    RAG_TOOLS_INLINE static Floats floats(Bytes integers) { return _mm256_cvtepi32_ps(integers); }

    RAG_TOOLS_INLINE static Floats set(float value) { return _mm256_set1_ps(value); }
    RAG_TOOLS_INLINE static Floats load(const float* at) { return _mm256_loadu_ps(at); }
    RAG_TOOLS_INLINE static void store(float* at, Floats a) { _mm256_storeu_ps(at, a); }
    RAG_TOOLS_INLINE static Floats plus(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    RAG_TOOLS_INLINE static Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    RAG_TOOLS_INLINE static Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
};

}  // namespace
}  // namespace rag_tools
