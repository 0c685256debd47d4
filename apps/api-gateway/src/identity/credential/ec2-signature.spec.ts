import { describe, expect, it } from 'vitest';
import { isRecent, isSigned, isSignedForS3, SignedRequest } from './ec2-signature.js';

const SECRET = 'b121dd41cdcc42fe9f70e572e84295aa';
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const SCOPE = 'x/20260131/RegionOne/ec2/aws4_request';
const signed = (request: object) => isSigned(SECRET, SignedRequest.parse({ access: 'x', ...request }));

/** Signed by OpenStack's own client. */
describe('a signature', () => {
  const second = {
    host: 'cloud.example:8773',
    path: '/services/Cloud',
    params: { SignatureVersion: '2', AWSAccessKeyId: 'x', Action: 'DescribeInstances', Note: "a b~c*d'é" },
  };
  it('of version 2 is told from another, with and without the port', () => {
    expect(signed({ ...second, signature: 'QLGaS7wWBHqy5r83pRVGlLt5JCvVUGpDdSFFIiggxVI=' })).toBe(true);
    expect(signed({ ...second, signature: 'TAd/KSl6IYEW90GPijemuKeF9Ik8iqXHlu0Md8A5fvU=' })).toBe(true);
    expect(signed({ ...second, signature: 'QLGaS7wWBHqy5r83pRVGlLt5JCvVUGpDdSFFIiggxVJ=' })).toBe(false);
  });
  it('of version 4 is read from the headers or from the query', () => {
    const headers = {
      Host: 'cloud.example',
      'X-Amz-Date': '20260131T120000Z',
      Authorization: `AWS4-HMAC-SHA256 Credential=${SCOPE}, SignedHeaders=host;x-amz-date, Signature=zzz`,
    };
    const params = {
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Credential': SCOPE,
      'X-Amz-Date': '20260131T120000Z',
      'X-Amz-SignedHeaders': 'host',
    };
    const inHeaders = '2a36167fe843737b4d6882c3f1146de58ba8decc8941919899230dead98e2611';
    const inQuery = 'b278d38f340eec6560b7092385d27578f74b84dbcd0c8bec5791f09d2e5c6c47';
    const wish = { headers, params: { Action: 'A' }, body_hash: EMPTY, signature: inHeaders };
    expect(signed(wish)).toBe(true);
    expect(signed({ params, headers: { host: 'cloud.example' }, body_hash: EMPTY, signature: inQuery })).toBe(true);
    expect(signed({ ...wish, verb: 'POST' })).toBe(false);
    expect(signed({ ...wish, headers: { ...headers, 'X-Amz-Date': '20260201T120000Z' } })).toBe(false);
  });
  it('of a version that is too weak is none', () => {
    for (const SignatureVersion of ['0', '1', '3'])
      expect(signed({ params: { SignatureVersion }, signature: '' })).toBe(false);
    expect(signed({ signature: '' })).toBe(false);
  });
  it('of a store of objects is told too', () => {
    const old = 'R0VUCgoKU2F0LCAzMSBKYW4gMjAyNiAxMjowMDowMCBHTVQKL2J1Y2tldC90aGluZw==';
    const text =
      'QVdTNC1ITUFDLVNIQTI1NgoyMDI2MDEzMVQxMjAwMDBaCjIwMjYwMTMxL1JlZ2lvbk9uZS9zMy9hd3M0X3JlcXVlc3QKMmQ3MTE2NDJiNzI2YjA0NDAxNjI3Y2E5ZmJhYzMyZjVjODUzMGZiMTkwM2NjNGRiMDIyNTg3MTc5MjFhNDg4MQ==';
    const signature = 'ab9533644cc021bc7774f5172f8a370a8c4ed3831a5e6aef23abc5b96e1f4957';
    expect(isSignedForS3(SECRET, old, 'IoClMGmjxDZt3NtMg8ZopU2/694=')).toBe(true);
    expect(isSignedForS3(SECRET, old, signature)).toBe(false);
    expect(isSignedForS3(SECRET, text, signature)).toBe(true);
    expect(isSignedForS3('other', text, signature)).toBe(false);
  });
});

const second = { SignatureVersion: '2' };
it.each([
  [{}, false],
  [{ params: second }, false],
  [{ params: { ...second, Timestamp: '2026-01-31T11:46:00Z' } }, true],
  [{ params: { ...second, Timestamp: '2026-01-31T11:44:00' } }, false],
  [{ params: { ...second, Timestamp: '2026-01-31T12:16:00Z' } }, false],
  [{ params: { ...second, Timestamp: 'soon' } }, false],
  [{ headers: { 'X-Amz-Date': '20260131T115000Z' } }, true],
  [{ params: { 'X-Amz-Date': '20260131T121000Z' } }, true],
  [{ headers: { 'X-Amz-Date': '20260131T114000Z' } }, false],
  [{ headers: { 'X-Amz-Date': '20260131T121600Z' } }, false],
  // A time that the signature does not cover makes nothing young.
  [{ headers: { 'X-Amz-Date': '20260131T114000Z' }, params: { Timestamp: '2026-01-31T12:00:00Z' } }, false],
  [{ headers: { 'X-Amz-Date': '20260131T120000Z' }, params: second }, false],
])('OSSA-2020-003 %j is recent: %s', (request, expected) => {
  const asked = SignedRequest.parse({ access: 'x', signature: 'y', ...request });
  expect(isRecent(asked, Date.parse('2026-01-31T12:00:00Z'))).toBe(expected);
});
