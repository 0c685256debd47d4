import {
  computeWording,
  type IssueWording,
  identityWording,
  imageWording,
  networkWording,
  placementWording,
} from './issues.js';
import type { ServiceType } from './operation.js';

const ASSUMED =
  'The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.';

/** How a service behaves where OpenStack's services differ from each other. */
export interface ServiceManners {
  readonly mount: string;
  readonly wording: IssueWording;
  /** Identity and Placement ask the policy before they look at the body; the others after. */
  readonly policyFirst: boolean;
  /** Identity says 404 to everybody; the others want a token before they say anything. */
  readonly tokenFirst: boolean;
  /** What a method that a path does not have is answered with. */
  readonly wrongMethod: 404 | 405;
  /** HEAD is answered wherever GET is. */
  readonly head: boolean;
  /** A slash at the end is answered with 404 where it follows a resource's path; the others overlook it. */
  readonly exactPaths?: true;
  readonly malformed: string;
  readonly wrongType: { readonly status: 400 | 415; readonly message: string };
  readonly notFound: string;
  readonly requestIdHeaders: readonly string[];
}

export const manners: Readonly<Record<ServiceType, ServiceManners>> = {
  identity: {
    mount: '/identity',
    wording: identityWording,
    policyFirst: true,
    tokenFirst: false,
    wrongMethod: 405,
    head: true,
    malformed: `Expecting to find valid JSON in request body. ${ASSUMED}`,
    wrongType: { status: 400, message: `Expecting to find application/json in Content-Type header. ${ASSUMED}` },
    notFound:
      'The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.',
    requestIdHeaders: ['x-openstack-request-id'],
  },
  compute: {
    mount: '/compute',
    exactPaths: true,
    wording: computeWording,
    policyFirst: false,
    tokenFirst: true,
    wrongMethod: 404,
    head: false,
    malformed: 'Malformed request body',
    wrongType: { status: 415, message: 'Unsupported Content-Type' },
    notFound: 'The resource could not be found.',
    requestIdHeaders: ['x-openstack-request-id', 'x-compute-request-id'],
  },
  network: {
    mount: '/network',
    wording: networkWording,
    policyFirst: false,
    tokenFirst: true,
    wrongMethod: 405,
    head: false,
    malformed: 'Malformed request body',
    wrongType: { status: 415, message: 'The request media type is not supported by this server.' },
    notFound: 'The resource could not be found.',
    requestIdHeaders: ['x-openstack-request-id'],
  },
  image: {
    mount: '/image',
    exactPaths: true,
    wording: imageWording,
    policyFirst: false,
    tokenFirst: true,
    wrongMethod: 405,
    head: false,
    malformed: 'Malformed JSON in request body.',
    wrongType: { status: 415, message: 'The request media type is not supported by this server.' },
    notFound: 'The resource could not be found.',
    requestIdHeaders: ['x-openstack-request-id'],
  },
  placement: {
    mount: '/placement',
    wording: placementWording,
    policyFirst: true,
    tokenFirst: true,
    wrongMethod: 405,
    head: false,
    malformed: 'Malformed JSON: the body is not valid JSON',
    wrongType: { status: 415, message: 'The media type is not supported, use application/json' },
    notFound: 'The resource could not be found.',
    requestIdHeaders: ['x-openstack-request-id'],
  },
  audit: {
    mount: '/audit',
    wording: computeWording,
    policyFirst: true,
    tokenFirst: false,
    wrongMethod: 405,
    head: false,
    malformed: 'Malformed JSON in request body.',
    wrongType: { status: 415, message: 'Unsupported Content-Type' },
    notFound: 'There is nothing here.',
    requestIdHeaders: ['x-openstack-request-id'],
  },
  volume: {
    mount: '/volume',
    wording: computeWording,
    policyFirst: false,
    tokenFirst: true,
    wrongMethod: 404,
    head: false,
    malformed: 'Malformed request body',
    wrongType: { status: 415, message: 'Unsupported Content-Type' },
    notFound: 'The resource could not be found.',
    requestIdHeaders: ['x-openstack-request-id', 'x-compute-request-id'],
  },
};
