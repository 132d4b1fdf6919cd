#include "search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

namespace rag_tools {
namespace {

// Products of a query value and a token's value below which one thread does the work: measured 11
// ms of it with AVX-512, 27 ms with AVX2.
constexpr double kSingleThreaded = 2e9;

int padded_to(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// Query tokens in 16 bits. What a table or the codec multiplies each dimension by is folded in.
class PreparedQuery {
  public:
    PreparedQuery(const Kernel& kernel, const Vectors& vectors, const float* steps, int groups)
        : padded_(padded_to(vectors.n, kLanes)),
          rows_(static_cast<size_t>(padded_) * groups * 8),
          bias_(padded_),
          scales_(padded_) {
        const int dim = groups * 4;
        std::vector<int16_t> integers(static_cast<size_t>(padded_) * dim);
        std::vector<float> folded(vectors.dim);
        std::fill_n(scales_.data(), padded_, 0.0f);
        for (int row = 0; row < vectors.n; ++row) {
            const float* vector = vectors.data + static_cast<size_t>(row) * vectors.dim;
            float largest = 0;
            for (int i = 0; i < vectors.dim; ++i) {
                folded[i] = steps ? vector[i] * steps[i] : vector[i];
                if (!std::isfinite(folded[i]))
                    throw std::invalid_argument("a query vector isn't finite");
                largest = std::max(largest, std::fabs(folded[i]));
            }
            if (largest < 1e-30f) continue;
            scales_[row] = largest / kQueryMax;
            for (int i = 0; i < vectors.dim; ++i)
                integers[static_cast<size_t>(row) * dim + i] =
                    static_cast<int16_t>(std::lrint(folded[i] / largest * kQueryMax));
        }
        kernel.arrange(integers.data(), padded_, groups, rows_.data(), bias_.data());
        query_ = {vectors.n, padded_, groups, rows_.data(), bias_.data(), scales_.data()};
    }

    const Query& query() const { return query_; }

  private:
    int padded_;
    Buffer<char> rows_;
    Buffer<int32_t> bias_;
    Buffer<float> scales_;
    Query query_;
};

size_t scratch_bytes(const Query& query) { return static_cast<size_t>(query.groups) * 128; }

// Call `work(chunk)` for every chunk. Chunks don't depend on the number of threads, and each
// writes where no other does, so neither does the result.
template <class Work>
void parallel(int64_t chunks, int threads, const Work& work) {
    std::atomic<int64_t> next{0};
    const auto run = [&] {
        for (int64_t chunk = next++; chunk < chunks; chunk = next++) work(chunk);
    };
    std::vector<std::thread> helpers;
    const int64_t wanted = std::min<int64_t>(threads, chunks) - 1;
    try {
        for (int64_t i = 0; i < wanted; ++i) helpers.emplace_back(run);
    } catch (const std::system_error&) {
        // The system gives no more threads: those there are do all the work.
    }
    run();
    for (std::thread& helper : helpers) helper.join();
}

int threads_for(const Query& query, int64_t tokens, int threads) {
    const double products = static_cast<double>(tokens) * query.padded * query.groups * 4;
    return products < kSingleThreaded ? 1 : std::max(threads, 1);
}

// The rows of the centroids that some tokens have, and their similarities to the query.
class CentroidTable {
  public:
    explicit CentroidTable(const Centroids& centroids)
        : centroids_(centroids), rows_(static_cast<size_t>(centroids.n), -1) {}

    void need(const Tokens& tokens, int64_t first, int64_t last) {
        for (int64_t token = first; token < last; ++token) {
            const uint32_t centroid = tokens.centroid(token);
            if (centroid >= centroids_.n)
                throw std::out_of_range("a token's centroid isn't in the codebook");
            if (rows_[centroid] < 0) {
                rows_[centroid] = static_cast<int32_t>(chosen_.size());
                chosen_.push_back(centroid);
            }
        }
    }

    // Compute the rows needed, and hand the table to `use`.
    template <class Use>
    void with(const Kernel& kernel, const Vectors& vectors, int threads, const Use& use) const {
        const int groups = padded_to(vectors.dim, 4) / 4;
        const PreparedQuery prepared(kernel, vectors, nullptr, groups);
        const Query& query = prepared.query();
        const int64_t n = static_cast<int64_t>(chosen_.size());
        Buffer<float> scores(static_cast<size_t>(n) * query.padded);
        constexpr int64_t kChunk = 1024;
        parallel((n + kChunk - 1) / kChunk, threads_for(query, n, threads), [&](int64_t chunk) {
            Buffer<char> scratch(scratch_bytes(query));
            const int64_t first = chunk * kChunk;
            kernel.centroids(query, centroids_, chosen_.data() + first,
                             std::min(kChunk, n - first), scratch.data(),
                             scores.data() + first * query.padded);
        });
        use(Table{scores.data(), rows_.data()});
    }

  private:
    const Centroids& centroids_;
    std::vector<int32_t> rows_;
    std::vector<uint32_t> chosen_;
};

int code_groups(int dim, int bits) { return padded_to(dim, 4 * (8 / bits)) / 4; }

std::pair<int64_t, int64_t> token_range(const Segment& segment, int64_t position) {
    if (position < 0 || position >= segment.n_passages)
        throw std::out_of_range("no passage has this position");
    const int64_t first = segment.token_offsets[position];
    const int64_t last = segment.token_offsets[position + 1];
    if (first < 0 || last < first || last > segment.n_tokens)
        throw std::out_of_range("a passage's tokens aren't in the segment");
    return {first, last};
}

}  // namespace

void centroid_scores(const Kernel& kernel, const Vectors& vectors, const Centroids& centroids,
                     int threads, float* scores) {
    const PreparedQuery prepared(kernel, vectors, nullptr, padded_to(vectors.dim, 4) / 4);
    const Query& query = prepared.query();
    constexpr int64_t kChunk = 64;
    parallel((centroids.n + kChunk - 1) / kChunk, threads_for(query, centroids.n, threads),
             [&](int64_t chunk) {
                 Buffer<char> scratch(scratch_bytes(query));
                 Buffer<float> rows(kChunk * query.padded);
                 const int64_t first = chunk * kChunk;
                 const int64_t n = std::min(kChunk, centroids.n - first);
                 uint32_t chosen[kChunk];
                 for (int64_t i = 0; i < n; ++i) chosen[i] = static_cast<uint32_t>(first + i);
                 kernel.centroids(query, centroids, chosen, n, scratch.data(), rows.data());
                 for (int row = 0; row < query.n; ++row)
                     for (int64_t i = 0; i < n; ++i)
                         scores[row * centroids.n + first + i] = rows[i * query.padded + row];
             });
}

void maxsim(const Kernel& kernel, const Vectors& vectors, const float* weights,
            const Centroids& centroids, const Segment& segment, const int64_t* positions,
            int64_t n_positions, int threads, float* scores) {
    CentroidTable table(centroids);
    int64_t n_tokens = 0;
    for (int64_t i = 0; i < n_positions; ++i) {
        const auto [first, last] = token_range(segment, positions[i]);
        table.need(segment.tokens, first, last);
        n_tokens += last - first;
    }
    const PreparedQuery prepared(kernel, vectors, segment.steps,
                                 code_groups(vectors.dim, segment.tokens.bits));
    const Query& query = prepared.query();
    table.with(kernel, vectors, threads, [&](const Table& computed) {
        constexpr int64_t kChunk = 64;
        parallel((n_positions + kChunk - 1) / kChunk, threads_for(query, n_tokens, threads),
                 [&](int64_t chunk) {
                     Buffer<char> scratch(scratch_bytes(query));
                     Buffer<float> best(query.padded);
                     const int64_t first = chunk * kChunk;
                     kernel.maxsim(query, segment.tokens, computed, weights,
                                   segment.token_offsets, positions + first,
                                   std::min(kChunk, n_positions - first), scratch.data(),
                                   best.data(), scores + first);
                 });
    });
}

void similarities(const Kernel& kernel, const Vectors& vectors, const Centroids& centroids,
                  const Segment& segment, int64_t position, float* similarities) {
    const auto [first, last] = token_range(segment, position);
    const int64_t n_tokens = last - first;
    CentroidTable table(centroids);
    table.need(segment.tokens, first, last);
    const PreparedQuery prepared(kernel, vectors, segment.steps,
                                 code_groups(vectors.dim, segment.tokens.bits));
    const Query& query = prepared.query();
    Buffer<char> scratch(scratch_bytes(query));
    Buffer<float> by_token(static_cast<size_t>(n_tokens) * query.padded);
    const int64_t from = first, to = last;
    table.with(kernel, vectors, 1, [&](const Table& computed) {
        kernel.similarities(query, segment.tokens, computed, from, to, scratch.data(),
                            by_token.data());
    });
    for (int row = 0; row < query.n; ++row)
        for (int64_t token = 0; token < n_tokens; ++token)
            similarities[row * n_tokens + token] = by_token[token * query.padded + row];
}

int64_t nearest_cells(const float* similarity, const int64_t* sizes, int64_t n, int64_t reach,
                      int64_t* nearest) {
    if (n == 0) return 0;
    // Count what each of 1024 slices of the range of similarities holds, best slice first; only
    // cells of the slices down to where `reach` falls have to be sorted.
    constexpr int kSlices = 1024;
    float low = similarity[0], high = similarity[0];
    bool finite = true;
    for (int64_t cell = 0; cell < n; ++cell) {
        low = similarity[cell] < low ? similarity[cell] : low;
        high = similarity[cell] > high ? similarity[cell] : high;
        finite &= std::isfinite(similarity[cell]);
    }
    if (!finite) throw std::invalid_argument("a similarity isn't finite");
    // Of a range too wide or too narrow for floats, everything is in the first slice.
    const float wanted = (kSlices - 1) / (high - low);
    const float slices_per_unit = std::isfinite(wanted) ? wanted : 0;
    const auto slice = [&](float value) {
        return slices_per_unit > 0
                   ? std::min(static_cast<int>((high - value) * slices_per_unit), kSlices - 1)
                   : 0;
    };
    int64_t held[kSlices] = {};
    for (int64_t cell = 0; cell < n; ++cell) held[slice(similarity[cell])] += sizes[cell];
    int border = 0;
    for (int64_t reached = held[0]; reached < reach && border < kSlices - 1;)
        reached += held[++border];
    int64_t count = 0;
    for (int64_t cell = 0; cell < n; ++cell)
        if (slice(similarity[cell]) <= border) nearest[count++] = cell;
    std::sort(nearest, nearest + count, [&](int64_t a, int64_t b) {
        return similarity[a] != similarity[b] ? similarity[a] > similarity[b] : a < b;
    });
    int64_t reached = 0;
    for (int64_t i = 0; i < count; ++i)
        if ((reached += sizes[nearest[i]]) >= reach) return i + 1;
    return count;
}

void credit(const Postings& postings, const int64_t* visited, const float* gains,
            int64_t n_visited, float* scores, int64_t n_passages) {
    std::vector<bool> met(static_cast<size_t>(n_passages));
    const uint32_t* const end = postings.cells + postings.n_cells;
    for (int64_t i = 0; i < n_visited; ++i) {
        const uint32_t* at = std::lower_bound(postings.cells, end, visited[i]);
        if (at == end || *at != visited[i]) continue;
        const int64_t first = postings.offsets[at - postings.cells];
        const int64_t last = postings.offsets[at - postings.cells + 1];
        if (last > postings.n_members) throw std::out_of_range("a posting isn't in the segment");
        for (int64_t member = first; member < last; ++member) {
            const uint32_t passage = postings.passages[member];
            if (passage >= n_passages) throw std::out_of_range("a posting names no passage");
            if (met[passage]) continue;
            met[passage] = true;
            scores[passage] += gains[i];
        }
    }
}

}  // namespace rag_tools
