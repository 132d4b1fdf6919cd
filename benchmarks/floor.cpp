// The floor of benchmarks/kernels.py: the multiply instruction that a kernel is built on, on
// registers alone. Compiled by that program with the system's compiler and called through ctypes;
// it is no part of the product.
//
// Each function multiplies at least `count` whole registers, into independent sums that hide the
// latency. The instructions are written out, since a compiler sees that all sums are alike and
// would keep one of them.

#include <cstdint>

#if defined(__x86_64__)

#include <immintrin.h>

extern "C" __attribute__((target("avx512f"))) void avx512vnni(uint64_t count) {
    constexpr int kSums = 16;
    __m512i factor = _mm512_set1_epi8(1), sums[kSums] = {};
    for (uint64_t done = 0; done < count; done += kSums) {
#pragma GCC unroll 16
        for (__m512i& sum : sums)
            __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(factor));
    }
}

// With sixteen registers, twelve sums leave room for the factor and its products.
constexpr int kSums = 12;

extern "C" __attribute__((target("avx2"))) void avxvnni(uint64_t count) {
    __m256i factor = _mm256_set1_epi8(1), sums[kSums] = {};
    for (uint64_t done = 0; done < count; done += kSums) {
#pragma GCC unroll 16
        for (__m256i& sum : sums)
            __asm__ volatile("%{vex%} vpdpbusd %1, %1, %0" : "+x"(sum) : "x"(factor));
    }
}

// AVX2 multiplies pairs of 16 bits; adding them to the sum is an instruction of its own.
extern "C" __attribute__((target("avx2"))) void avx2(uint64_t count) {
    __m256i factor = _mm256_set1_epi16(1), sums[kSums] = {}, product;
    for (uint64_t done = 0; done < count; done += kSums) {
#pragma GCC unroll 16
        for (__m256i& sum : sums)
            __asm__ volatile("vpmaddwd %2, %2, %1\n\tvpaddd %1, %0, %0"
                             : "+x"(sum), "=&x"(product)
                             : "x"(factor));
    }
}

// The same on 128 bits.
extern "C" void sse41(uint64_t count) {
    __m128i factor = _mm_set1_epi16(1), sums[kSums] = {}, product;
    for (uint64_t done = 0; done < count; done += kSums) {
#pragma GCC unroll 16
        for (__m128i& sum : sums)
            __asm__ volatile("movdqa %2, %1\n\tpmaddwd %2, %1\n\tpaddd %1, %0"
                             : "+x"(sum), "=&x"(product)
                             : "x"(factor));
    }
}

#elif defined(__aarch64__)

#include <arm_neon.h>

extern "C" void neon(uint64_t count) {
    constexpr int kSums = 16;
    int8x16_t factor = vdupq_n_s8(1);
    int32x4_t sums[kSums] = {};
    for (uint64_t done = 0; done < count; done += kSums) {
#pragma GCC unroll 16
        for (int32x4_t& sum : sums)
            __asm__ volatile(".arch armv8.2-a+dotprod\n\tsdot %0.4s, %1.16b, %1.16b"
                             : "+w"(sum)
                             : "w"(factor));
    }
}

#endif
