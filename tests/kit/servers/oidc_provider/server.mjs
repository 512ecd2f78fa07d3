/**
 * A program that serves oidc-provider, with an API behind it.
 *
 * Grants, client authentication, scopes, resource indicators, introspection and revocation are
 * oidc-provider's. What is written here is what it leaves to whoever uses it: where things are
 * kept, which resources there are, and the check of a bearer token. Under /admin the tests play.
 */

import { hash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

const clients = new Map();
const revoked = new Set(); // ids of tokens that are no good, whatever they say
const stats = {};
let requiresNonces = false; // of DPoP proofs, at both ends

function count(clientId, what, number = 1) {
  const counts = (stats[clientId] ??= {});
  counts[what] = (counts[what] ?? 0) + number;
}

/** Keeps what oidc-provider grants, in memory; clients as the tests register them. */
class Store {
  static kept = new Map();

  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload) {
    Store.kept.set(this.key(id), payload);
  }

  async find(id) {
    return this.model === 'Client' ? clients.get(id) : Store.kept.get(this.key(id));
  }

  async findByUid(uid) {
    return [...Store.kept.values()].find((payload) => payload.uid === uid);
  }

  async destroy(id) {
    Store.kept.delete(this.key(id));
  }

  async consume(id) {
    Store.kept.get(this.key(id)).consumed = true;
  }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of Store.kept) {
      if (payload.grantId === grantId) Store.kept.delete(key);
    }
  }
}

// Two services: one is told its token by looking it up, one by the token itself.
const RESOURCES = {
  'urn:orders': { scope: 'read write', audience: 'urn:orders', accessTokenFormat: 'opaque' },
  'https://invoices.example.com/': {
    scope: 'read',
    audience: 'https://invoices.example.com/',
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'RS256' } },
  },
  'https://stock.example.com': {
    scope: 'read',
    audience: 'https://stock.example.com',
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'RS256' } },
  },
};
for (const audience of ['https://mixed-1.example.com/', 'https://mixed-2.example.com/x']) {
  const jwt = { sign: { alg: 'RS256' } };
  RESOURCES[audience] = { scope: 'read write', audience, accessTokenFormat: 'jwt', jwt };
}

const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
const keyId = { kid: 'key', use: 'sig', alg: 'RS256' };
const publicKeys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), ...keyId }] });

const PERSON = '/admin/person/'; // where the person is who signs in

const http = createServer();
http.listen(0, '127.0.0.1');
await once(http, 'listening');
const issuer = `http://127.0.0.1:${http.address().port}`;

/** Return the certificate that a connection presented, as node:crypto has it. */
function certificateOf(socket) {
  return socket.getPeerX509Certificate?.();
}

const provider = new Provider(issuer, {
  adapter: Store,
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
    'self_signed_tls_client_auth',
    'none',
  ],
  jwks: { keys: [{ ...(await exportJWK(privateKey)), ...keyId }] },
  scopes: ['openid', 'offline_access', 'read', 'write', 'delete'],
  enabledJWA: {
    clientAuthSigningAlgValues: [
      ...['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
      ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
    ],
  },
  interactions: { url: (ctx, interaction) => `${PERSON}${interaction.uid}` },
  findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  rotateRefreshToken: true, // a second use of one revokes the whole family
  extraClientMetadata: { properties: ['lifetime_seconds', 'delay_seconds', 'hold_seconds'] },
  ttl: {
    AccessToken: (ctx, token, client) => client.lifetime_seconds ?? 3600,
    ClientCredentials: (ctx, token, client) => client.lifetime_seconds ?? 3600,
    Grant: 86400,
    RefreshToken: 86400,
  },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: {
      enabled: true,
      nonceSecret: Buffer.alloc(32, 'nonces'),
      requireNonce: () => requiresNonces,
      allowReplay: false,
    },
    introspection: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: (ctx) => certificateOf(ctx.socket),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_dns' &&
        certificateOf(ctx.socket).checkHost(expected) !== undefined,
    },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo(ctx, resource, client) {
        if (!(resource in RESOURCES)) throw new errors.InvalidTarget();
        return { ...RESOURCES[resource], accessTokenTTL: client.lifetime_seconds ?? 3600 };
      },
    },
  },
});

provider.on('client_credentials.saved', (token) => count(token.clientId, 'grants'));
provider.on('client_credentials.issued', (token) => count(token.clientId, 'grants'));

provider.on('access_token.issued', (token) => count(token.clientId, 'grants'));
provider.on('access_token.saved', (token) => count(token.clientId, 'grants'));
provider.on('grant.revoked', (ctx) => count(ctx.oidc.client.clientId, 'families_revoked'));

/** Return what the provider knows of a token that is good, and undefined of any other. */
async function validated(value) {
  const { AccessToken, ClientCredentials } = provider;
  const token = (await ClientCredentials.find(value)) ?? (await AccessToken.find(value));
  if (token?.isValid) return { ...token, id: token.jti };
  if (value.split('.').length !== 3) return undefined;
  try {
    const { payload } = await jwtVerify(value, publicKeys, { issuer, typ: 'at+jwt' });
    return { clientId: payload.client_id, scope: payload.scope, aud: payload.aud, id: payload.jti };
  } catch {
    return undefined;
  }
}

function say(response, status, content) {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(content));
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

const routes = {
  async 'GET /resource'(request, response) {
    const value = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const token = await validated(value);
    const bound = token?.['x5t#S256']; // RFC 8705: to the certificate of the token request
    const seen = certificateOf(request.socket);
    const fits = !bound || (seen && bound === hash('sha256', seen.raw, 'base64url'));
    const good = token !== undefined && !revoked.has(token.id) && fits;
    count(token?.clientId, good ? 'resource_calls' : 'resource_refusals');
    if (!good) return say(response, 401, { error: 'invalid_token' });
    say(response, 200, { client_id: token.clientId, scope: token.scope ?? null, aud: token.aud });
  },
  async 'POST /admin/clients'(request, response) {
    const client = await read(request);
    clients.set(client.client_id, {
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      ...client,
    });
    say(response, 200, {});
  },
  /** Answer with a first refresh token, as after a sign-in with consent. */
  async 'POST /admin/grants'(request, response) {
    const { client_id: clientId, account, resources = [], jkt } = await read(request);
    const client = await provider.Client.find(clientId);
    const grant = new provider.Grant({ clientId, accountId: account });
    grant.addOIDCScope('openid offline_access');
    for (const resource of resources) grant.addResourceScope(resource, 'read');
    const refreshToken = new provider.RefreshToken({
      accountId: account,
      client,
      grantId: await grant.save(),
      gty: 'authorization_code',
      jkt, // of a public client's key (RFC 9449, section 5)
      scope: resources.length ? 'openid offline_access read' : 'openid offline_access',
      ...(resources.length ? { resource: resources } : {}),
    });
    say(response, 200, { refresh_token: await refreshToken.save() });
  },
  /** Listen by TLS as well, with the certificate that was sent; clients may present theirs. */
  async 'POST /admin/mtls'(request, response) {
    const { certificate: cert, key, ca, strict } = await read(request);
    const options = { cert, key, ca, requestCert: true, rejectUnauthorized: strict };
    const secure = createTlsServer(options, answer);
    secure.listen(0, '127.0.0.1');
    await once(secure, 'listening');
    say(response, 200, { origin: `https://127.0.0.1:${secure.address().port}` });
  },
  async 'POST /admin/revoke'(request, response) {
    const token = await validated((await read(request)).token);
    revoked.add(token?.id);
    say(response, 200, {});
  },
  /** Demand nonces in DPoP proofs from now on, or no more. */
  async 'POST /admin/nonces'(request, response) {
    requiresNonces = (await read(request)).required;
    say(response, 200, {});
  },
  async 'GET /admin/stats'(request, response) {
    say(response, 200, stats);
  },
};

/** Do what a person does: sign in as login_hint says, and consent; "decliner" declines. */
async function actAsPerson(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  const accountId = params.login_hint ?? 'somebody';
  const finish = (result) => provider.interactionFinished(request, response, result);
  if (accountId === 'decliner') {
    return finish({ error: 'access_denied', error_description: 'not today' });
  }
  if (prompt.name === 'login') return finish({ login: { accountId } });
  const known = grantId && (await provider.Grant.find(grantId));
  const fields = { accountId: session.accountId, clientId: params.client_id };
  const grant = known || new provider.Grant(fields);
  const { missingOIDCScope: scopes = [], missingResourceScopes: resources = {} } = prompt.details;
  grant.addOIDCScope(scopes.join(' '));
  for (const [resource, scope] of Object.entries(resources)) {
    grant.addResourceScope(resource, scope.join(' '));
  }
  return finish({ consent: { grantId: await grant.save() } });
}

/** Return who names itself by HTTP Basic. */
function nameOf(request) {
  const [scheme, pair] = (request.headers.authorization ?? '').split(' ');
  if (scheme !== 'Basic') return undefined;
  return decodeURIComponent(Buffer.from(pair, 'base64').toString().split(':')[0]);
}

async function pause(seconds) {
  if (seconds) await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

const underWay = {};

provider.use(async (ctx, next) => {
  if (ctx.path !== '/token') return next();
  const name = nameOf(ctx.req);
  const now = (underWay[name] = (underWay[name] ?? 0) + 1);
  const { delay_seconds: delay, hold_seconds: hold } = clients.get(name) ?? {};
  count(name, 'arrivals');
  await pause(delay);
  await next();
  await pause(hold); // the grant is made, and its answer is not sent yet
  underWay[name] -= 1;
  const { client, params } = ctx.oidc;
  const clientId = client?.clientId ?? name ?? params?.client_id;
  count(clientId, 'token_requests');
  const most = stats[clientId].most_at_once ?? 0;
  if (now > most) count(clientId, 'most_at_once', now - most);
});

const serve = provider.callback();

function answer(request, response) {
  if (request.url.startsWith(PERSON)) {
    actAsPerson(request, response).catch((error) => say(response, 500, { error: String(error) }));
    return;
  }
  const route = routes[`${request.method} ${request.url}`];
  if (route === undefined) return serve(request, response);
  route(request, response).catch((error) => say(response, 500, { error: String(error) }));
}

http.on('request', answer);

console.log(JSON.stringify({ issuer, token_endpoint: `${issuer}/token` }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
