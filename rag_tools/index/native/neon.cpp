// NEON with the dot-product instructions: ARMv8.2 and later, all Apple silicon.

#include "tables.h"

// Clang before 16 has the intrinsics only if the whole program may use the instructions.
#if defined(__aarch64__) && \
    (defined(__ARM_FEATURE_DOTPROD) || __clang_major__ >= 16 || (__GNUC__ && !defined(__clang__)))

#include <arm_neon.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include "stages.h"

namespace rag_tools {
namespace {

struct Neon {
    static constexpr const char* kName = "neon";
    static constexpr int kWidth = 4;
    using Element = int8_t;
    using Floats = float32x4_t;
    static constexpr bool kCoarse = true;

    static void arrange(const int16_t* rows, int padded, int groups, void* arranged,
                        int32_t* bias) {
        arrange_bytes<kWidth>(rows, padded, groups, arranged);
        for (int row = 0; row < 2 * padded; ++row) bias[row] = 0;
    }

    template <int bits>
    RAG_TOOLS_INLINE static void decode(const uint8_t* codes, int packed_groups,
                                        const int8_t* values, Element* out) {
        const int8x16_t table = vld1q_s8(values);
        const uint8x16_t mask = vdupq_n_u8(static_cast<uint8_t>((1 << bits) - 1));
        for (int group = 0; group < packed_groups; ++group) {
            for (int shift = 0; shift < 8; shift += bits) {
                const int8x16_t right = vdupq_n_s8(static_cast<int8_t>(-shift));
                for (int quarter = 0; quarter < 4; ++quarter) {
                    const uint8x16_t packed = vld1q_u8(codes + group * 64 + quarter * 16);
                    const uint8x16_t code = vandq_u8(vshlq_u8(packed, right), mask);
                    vst1q_s8(out, vqtbl1q_s8(table, code));
                    out += 16;
                }
            }
        }
    }

    static void widen(const int8_t* values, int n, Element* out, int padded) {
        for (int i = 0; i < n; ++i) out[i] = values[i];
        for (int i = n; i < padded; ++i) out[i] = 0;
    }

    RAG_TOOLS_INLINE static int8x16_t four(const Element* token) {
        int32_t bytes;
        memcpy(&bytes, token, 4);
        return vreinterpretq_s8_s32(vdupq_n_s32(bytes));
    }

    struct Exact {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        struct Row {
            int8x16_t high, low;
        };
        struct Sum {
            int32x4_t high, low;
        };
        RAG_TOOLS_INLINE static Sum start(const Query&, int) {
            return {vdupq_n_s32(0), vdupq_n_s32(0)};
        }
        RAG_TOOLS_INLINE static Row row(const Query&, const char* at) {
            const int8_t* rows = reinterpret_cast<const int8_t*>(at);
            return {vld1q_s8(rows), vld1q_s8(rows + 16)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            const int8x16_t bytes = four(token);
            sum.high = vdotq_s32(sum.high, row.high, bytes);
            sum.low = vdotq_s32(sum.low, row.low, bytes);
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) {
            return vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(sum.high, 7), sum.low));
        }
    };

    struct Cell {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        using Row = int8x16_t;
        using Sum = int32x4_t;
        RAG_TOOLS_INLINE static Sum start(const Tile&, int) { return vdupq_n_s32(0); }
        RAG_TOOLS_INLINE static Row row(const Tile&, const char* at) {
            return vld1q_s8(reinterpret_cast<const int8_t*>(at));
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            sum = vdotq_s32(sum, row, four(token));
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int) { return vcvtq_f32_s32(sum); }
    };

    // Of one register the second is unused. (GCC keeps an array of registers in memory.)
    template <int registers>
    struct Coarse {
        static constexpr int kRegisters = registers;
        static constexpr int kTile = 8;
        struct Row {
            int8x16_t first, second;
        };
        struct Sum {
            int32x4_t first, second;
        };
        RAG_TOOLS_INLINE static Sum start(const Query&, int) {
            return {vdupq_n_s32(0), vdupq_n_s32(0)};
        }
        RAG_TOOLS_INLINE static Row row(const Query& query, const char* at) {
            const ptrdiff_t next = static_cast<ptrdiff_t>(query.groups) * kWidth * kRowBytes;
            const int8_t* rows = reinterpret_cast<const int8_t*>(at);
            return {vld1q_s8(rows), vld1q_s8(rows + (registers - 1) * next)};
        }
        RAG_TOOLS_INLINE static void add(Sum& sum, const Row& row, const Element* token) {
            const int8x16_t bytes = four(token);
            sum.first = vdotq_s32(sum.first, row.first, bytes);
            if (registers == 2) sum.second = vdotq_s32(sum.second, row.second, bytes);
        }
        RAG_TOOLS_INLINE static Floats total(const Sum& sum, int r) {
            return vcvtq_f32_s32(r ? sum.second : sum.first);
        }
    };

    RAG_TOOLS_INLINE static Floats set(float value) { return vdupq_n_f32(value); }
    RAG_TOOLS_INLINE static Floats load(const float* at) { return vld1q_f32(at); }
    RAG_TOOLS_INLINE static void store(float* at, Floats a) { vst1q_f32(at, a); }
    RAG_TOOLS_INLINE static Floats plus(Floats a, Floats b) { return vaddq_f32(a, b); }
    RAG_TOOLS_INLINE static Floats times(Floats a, Floats b) { return vmulq_f32(a, b); }
    RAG_TOOLS_INLINE static Floats larger(Floats a, Floats b) { return vmaxq_f32(a, b); }
};

}  // namespace

constexpr Kernel kNeon = Stages<Neon>::table();

}  // namespace rag_tools

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

constexpr rag_tools::Kernel rag_tools::kNeon = {};

#endif
