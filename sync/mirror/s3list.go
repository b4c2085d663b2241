package mirror

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kingpinfs/kingpin/registry"
)

const (
	// listPage is how many keys one answer holds at most. It is S3's own limit.
	listPage = 1000
	// maxPages bounds what is asked for one listing.
	maxPages = 200
	// firstWindow is how far back the second look at a long history goes; each further one goes sixteen times as far.
	firstWindow = time.Hour
	windowRatio = 16
)

// List is the last bodies, at most so many, whose keys are prefix, a digit and anything, in descending order of the keys. S3 lists in
// ascending order: a short history comes with one request, and of a long one, whose keys go on with seconds since 1970, the end is
// looked for by going back from now.
func (s *S3) List(ctx context.Context, prefix string, most int) ([]registry.Stored, error) {
	if err := checkObjectKey(prefix); err != nil {
		return nil, err
	}
	end := prefix + ":" // what follows 9
	all, whole, err := s.scan(ctx, prefix, prefix, end, 1)
	if err != nil {
		return nil, err
	}
	if !whole {
		if all, err = s.lastOf(ctx, prefix, end, most); err != nil {
			return nil, err
		}
	}
	slices.Reverse(all)
	return all[:min(most, len(all))], nil
}

// lastOf are at least the last so many keys below end, in ascending order.
func (s *S3) lastOf(ctx context.Context, prefix, end string, most int) ([]registry.Stored, error) {
	var found []registry.Stored
	pages := maxPages
	for back := firstWindow; len(found) < most; back *= windowRatio {
		start, since := prefix, time.Now().Add(-back).Unix()
		if since > 0 && back > 0 {
			start = fmt.Sprintf("%s%010d", prefix, since)
		}
		window, whole, err := s.scan(ctx, prefix, start, end, pages)
		if err != nil {
			return nil, err
		}
		if pages -= len(window)/listPage + 1; !whole || pages <= 0 {
			return nil, fmt.Errorf("S3: list %s: more than %d keys: %w", prefix, maxPages*listPage, registry.ErrTooLarge)
		}
		found = append(window, found...)
		if start == prefix {
			break
		}
		end = start
	}
	return found, nil
}

// scan lists the keys with a prefix from start up to end, in so many answers at most; whole says that there are no more of them.
func (s *S3) scan(ctx context.Context, prefix, start, end string, pages int) (list []registry.Stored, whole bool, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, StartAfter: &start, MaxKeys: aws.Int32(listPage)}
	for range pages {
		out, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, false, s.failure(ctx, "list", prefix, err)
		}
		for _, o := range out.Contents {
			key := aws.ToString(o.Key)
			if key >= end {
				return list, true, nil
			}
			if key >= start && key[len(prefix):] != "" && key[len(prefix)] >= '0' {
				list = append(list, registry.Stored{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
			}
		}
		if !aws.ToBool(out.IsTruncated) || len(out.Contents) == 0 {
			return list, true, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
	return list, false, nil
}

// Stat is what is stored under key, without the bytes. ErrNotExist.
func (s *S3) Stat(ctx context.Context, key string) (registry.Stored, error) {
	if err := checkObjectKey(key); err != nil {
		return registry.Stored{}, err
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if statusOf(err) == http.StatusNotFound { // whatever else it means has no body to say so
		return registry.Stored{}, fmt.Errorf("S3: head %s: %w", key, registry.ErrNotExist)
	}
	if err != nil {
		return registry.Stored{}, s.failure(ctx, "head", key, err)
	}
	meta, err := unpackMeta(out.Metadata)
	if err != nil {
		return registry.Stored{}, fmt.Errorf("S3: head %s: %w", key, err)
	}
	return registry.Stored{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified), Meta: meta}, nil
}
